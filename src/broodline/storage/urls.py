"""The URLs of stores: `sqlite:///PATH`, and the directory next to a database in which studies keep their files."""

from __future__ import annotations

from pathlib import Path

from broodline.errors import StoreError

SQLITE = "sqlite:///"
IN_MEMORY = "sqlite://"


def absolute(url: str) -> str:
    """The same store under a URL that does not depend on the current directory.

    Raises:
        StoreError: The URL names no store.
    """
    if url == IN_MEMORY or scheme_of(url) != "sqlite":
        return url
    return f"{SQLITE}{sqlite_path(url).absolute()}"


def files_of(url: str) -> Path:
    """The directory next to the store in which its studies keep their checkpoints and logs."""
    path = sqlite_path(url)
    return path.with_name(path.stem + ".files")


def scheme_of(url: str) -> str:
    """The part of a URL before `://`, which names the implementation.

    Raises:
        StoreError: The URL has none.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise StoreError(f"'{url}' names no store: write sqlite:///PATH (four slashes begin an absolute path)")
    return scheme


def sqlite_path(url: str) -> Path:
    """The file of a SQLite store.

    Raises:
        StoreError: The URL is not `sqlite:///PATH`.
    """
    path = url.removeprefix(SQLITE)
    if path in ("", url):
        raise StoreError(f"'{url}' names no store: write sqlite:///PATH (four slashes begin an absolute path)")
    return Path(path)
