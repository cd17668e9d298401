"""Facts about the local disk, and the few operations on it that several modules need."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count
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
    found = (entry for _, entries in walk(path, lambda _error: None) for entry in entries)
    return sum(_bytes_of(Path(entry.path)) for entry in found if not entry.is_dir())


def delete(path: Path) -> bool:
    """Deletes a directory that a program wrote, and returns whether it is gone; a later recovery retries if it is not."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return True
    if stat.S_ISDIR(mode):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:  # another process deletes it too
            shutil.rmtree(path, ignore_errors=True)
        except (OSError, RecursionError):
            _delete_stubborn(path)
    else:  # a program put a file or a link in its place
        with suppress(OSError):
            path.unlink()
    return not os.path.lexists(path)


def _delete_stubborn(top: Path) -> None:
    """Deletes a directory whose directories lack permissions, or are nested too deep for recursion or for the length of a path.

    Each directory in it is first moved to the top, so no path is long and no recursion is needed.
    """
    names, pending = count(), [top]
    while pending:
        here = pending.pop()
        with suppress(OSError):  # an entry that can't be deleted keeps its directory, and the caller finds that
            pending += _emptied(here, top, names)
            if here != top:
                here.rmdir()
    with suppress(OSError):
        top.rmdir()


def _emptied(here: Path, top: Path, names: Iterator[int]) -> list[Path]:
    """Deletes the files in a directory, and returns the directories in it, which are moved to the top."""
    directories = []
    make_writable(here)
    for entry in list(os.scandir(here)):
        with suppress(OSError):
            path = Path(entry.path)
            if not entry.is_dir(follow_symlinks=False):
                path.unlink()
            else:
                make_writable(path)  # a directory that moves to another one is written to
                directories.append(path if here == top else path.rename(_free_name(top, names)))
    return directories


def _free_name(top: Path, names: Iterator[int]) -> Path:
    return next(path for number in names if not os.path.lexists(path := top / f".moved-{number}"))


def make_writable(directory: Path) -> None:
    """Gives the owner all permissions of a directory.

    Raises:
        OSError: It belongs to another user.
    """
    mode = stat.S_IMODE(os.stat(directory, follow_symlinks=False).st_mode)
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(directory, mode | stat.S_IRWXU)


def walk(top: Path, failed: Callable[[OSError], None]) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """Each directory below a directory, itself first, with its entries; without recursion, which deep directories exhaust.

    Args:
        top: The directory.
        failed: Called with the error of a directory that can't be listed.
    """
    pending = [top]
    while pending:
        here = pending.pop()
        try:
            with os.scandir(here) as found:
                entries = list(found)
        except OSError as error:
            failed(error)
            continue
        yield here, entries
        pending += [here / entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def flush(path: Path) -> None:
    """Makes a file, or the names in a directory, durable. A link is part of its directory."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            return
        raise
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
