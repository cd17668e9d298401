"""The directory of a store's files: its name, and the file in it that carries the store's identity."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from broodline.storage.disk import flush

IDENTITY_FILE = "identity.json"
_KEY = "store"
_LONGEST = 1 << 16  # bytes of the file; it has less than a hundred
_STAGED = f".{IDENTITY_FILE}.staged"
_IGNORED = frozenset({IDENTITY_FILE, _STAGED, "lost+found"})  # a new file system has a `lost+found`


def roots_of(path: Path) -> tuple[Path, Path]:
    """The directory of a database's files, and the one that versions without identities used.

    The former name leaves out what follows the last dot, so `x.db` and `x.sqlite` shared a directory.

    >>> [root.name for root in roots_of(Path("broodline.db"))]
    ['broodline.db.files', 'broodline.files']
    """
    return path.with_name(f"{path.name}.files"), path.with_name(f"{path.stem}.files")


def identity_in(root: Path) -> str | None:
    """The identity that a directory carries; None if it carries none, or is not there."""
    try:
        # A worker asks several times a trial, and a Python file costs more than the three calls that it makes.
        file = os.open(f"{root}/{IDENTITY_FILE}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _identity_of(os.read(file, _LONGEST))
        finally:
            os.close(file)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=8)
def _identity_of(content: bytes) -> str | None:
    document = json.loads(content)
    found = document.get(_KEY) if isinstance(document, dict) else None
    return found if isinstance(found, str) and found else None


def document_of(identity: str) -> str:
    """The content of the file that carries an identity."""
    return json.dumps({_KEY: identity})


def mark(root: Path, identity: str) -> None:
    """Makes a directory carry an identity, durably; makes the directory if there is none.

    Raises:
        OSError: It can't be written.
    """
    root.mkdir(exist_ok=True)
    staged = root / _STAGED
    staged.write_text(document_of(identity), encoding="utf-8")
    try:
        flush(staged)
        os.replace(staged, root / IDENTITY_FILE)
    except FileNotFoundError:
        if identity_in(root) != identity:  # else another process has renamed it, with the same content
            raise
    for directory in (root, root.parent):
        with suppress(PermissionError):  # a directory without read permission can't be flushed
            flush(directory)


def is_vacant(root: Path) -> bool:
    """True for a directory that is not there, or holds no file of any study."""
    try:
        names = set(os.listdir(root))
    except FileNotFoundError:
        return True
    return names <= _IGNORED
