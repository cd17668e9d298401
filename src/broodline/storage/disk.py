"""Facts about the local disk, and the few operations on it that several modules need."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def is_disk_full(error: BaseException | None) -> bool:
    """True if an error, or its cause, reports a full disk or an exhausted quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def size_of(path: Path) -> int:
    """The bytes of all files in a directory, or of one file; 0 if it is missing or is being removed."""
    if not path.is_dir():
        return _bytes_of(path)
    return sum(_bytes_of(Path(directory) / name) for directory, _, names in os.walk(path) for name in names)


def delete(path: Path) -> None:
    """Deletes the directory of an attempt; the next recovery retries what can't be deleted now."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):  # a program put a file or a link in its place
        with suppress(OSError):
            path.unlink()


def flush(path: Path) -> None:
    """Makes a file, or the names in a directory, durable. A link is part of its directory."""
    if path.is_symlink():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, chunks: Iterable[bytes]) -> None:
    """Writes a file that a user names: a second file takes its name at the end, so it never holds half of the content.

    A device or a pipe (`-o /dev/stdout`) is written as it is: a rename would replace it by a regular file. A link stays a link.

    Raises:
        OSError: The file can't be written; a regular file is as it was.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with path.open("wb") as device:
            device.writelines(chunks)
        return
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.writelines(chunks)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _bytes_of(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_size
    return 0
