"""The URLs of stores, such as `sqlite:///PATH`."""

from __future__ import annotations

import re
from pathlib import Path

from broodline.errors import StoreError

SQLITE = "sqlite:///"
IN_MEMORY = "sqlite://"
_PASSWORD = re.compile(r"(?<=://)(?P<user>[^/?#:@]*):[^?#]*(?=@)")
_PASSWORD_OPTION = re.compile(r"([?&])(?:ssl)?password=[^&#]*&?")


def absolute(url: str) -> str:
    """The same store under a URL that depends neither on the current directory nor on symbolic links.

    The files of a study lie next to its database, so every path to the database must lead to the same files.

    Raises:
        StoreError: The URL names no store.
    """
    if url == IN_MEMORY or scheme_of(url) != "sqlite":
        return url
    return f"{SQLITE}{sqlite_path(url).resolve()}"


def shown(url: str) -> str:
    """A URL as messages show it: without its password.

    >>> shown("postgresql://me:secret@host/db")
    'postgresql://me@host/db'
    >>> shown("postgresql://host/db?user=me&password=a%20b&sslmode=require")
    'postgresql://host/db?user=me&sslmode=require'
    """
    return _PASSWORD.sub(r"\g<user>", _PASSWORD_OPTION.sub(r"\1", url))


def scheme_of(url: str) -> str:
    """The part of a URL before `://`, which names the implementation.

    Raises:
        StoreError: The URL has none.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise StoreError(f"'{shown(url)}' names no store: write sqlite:///PATH (four slashes begin an absolute path)")
    return scheme


def sqlite_path(url: str) -> Path:
    """The file of a SQLite store.

    Raises:
        StoreError: The URL is not `sqlite:///PATH`.
    """
    path = url.removeprefix(SQLITE)
    if path in ("", url):
        raise StoreError(f"'{shown(url)}' names no store: write sqlite:///PATH (four slashes begin an absolute path)")
    return Path(path)
