"""Finds out which workers of this machine have died, and which are stopped.

A worker holds a lock on a file of its own, named by its session, for as long as it lives. The kernel releases the lock when the
process ends, however that is. A process number would not do: another process may have it by now.

The file holds its own device and inode. In a copy of the directory the file is another one, which no process locks: its session
belongs to the original, where the worker may be alive.

It also names its host. On a shared file system a lock of another host need not be visible here, and the device has another
number. So a file with another inode and another host is left alone, and the lease of its session expires. A container that is
started again has another name and the same inode.

A process that is forked inherits open files, and with them their locks. A helper that a training function forked would so keep
the lock of a worker that was killed. `private_to_process` closes the file in every process that Python forks.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO

_HOST = socket.gethostname()
_AT_ONCE = 100  # each file stays open until its worker is cleaned up after
_PRIVATE: list[IO[str]] = []


@contextmanager
def alive(directory: Path, session: str) -> Iterator[None]:
    """Holds the lock of a session while the context lasts."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / session
    while True:
        with path.open("w") as file, private_to_process(file):
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_still(path, file):
                with suppress(OSError):  # a full disk; the file then proves as much as one without content
                    os.write(file.fileno(), _inode(file))
                yield
                path.unlink(missing_ok=True)
                return


@contextmanager
def private_to_process(file: IO[str]) -> Iterator[None]:
    """Closes a file in every process that this one forks while the block runs, so that it alone holds the file's lock."""
    _PRIVATE.append(file)
    try:
        yield
    finally:
        _PRIVATE.remove(file)


def _close_private() -> None:
    for file in _PRIVATE:
        with suppress(OSError):
            file.close()
    _PRIVATE.clear()


os.register_at_fork(after_in_child=_close_private)


def _is_still(path: Path, file: IO[str]) -> bool:
    """False if a file was removed after it was opened and before it was locked: no process will look at that lock."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _inode(file: IO[str]) -> bytes:
    status = os.fstat(file.fileno())
    return f"{status.st_dev} {status.st_ino} {_HOST}\n".encode()


def _content(file: IO[str]) -> list[bytes]:
    """The device, the inode and the host; a former version noted no host, and on a full disk the file is empty."""
    return os.pread(file.fileno(), 512, 0).split()


def _is_of_another_host(file: IO[str]) -> bool:
    noted, here = _content(file), _inode(file).split()
    return noted[2:] not in ([], here[2:]) and noted[:2] != here[:2]


def has_sessions(directory: Path) -> bool:
    """True if there is the file of a session of this host."""
    for path in directory.glob("*"):
        with suppress(FileNotFoundError), path.open("r+") as file:
            if not _is_of_another_host(file):
                return True
    return False


def remove_copied_sessions(directory: Path) -> list[str]:
    """Removes the files that were copied with their directory, and returns their sessions, whose workers are left alone."""
    copied = []
    for path in sorted(directory.glob("*")):
        with suppress(FileNotFoundError), path.open("r+") as file:
            noted = _content(file)
            if noted and noted[:2] != _inode(file).split()[:2] and not _is_of_another_host(file):
                copied.append(path.name)
                path.unlink(missing_ok=True)
    return copied


def is_stopped(process: int) -> bool:
    """True while a process is stopped, by SIGSTOP, Ctrl-Z or a debugger: it lives, but does not run.

    Linux only, where /proc shows it; elsewhere every process is taken for one that runs.
    """
    try:
        stat = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[:1] in ([b"T"], [b"t"])  # the name comes first, in brackets, and may hold any


@contextmanager
def dead_sessions(directory: Path) -> Iterator[list[str]]:
    """The sessions of workers that have died, or some of them; their files are removed when the block ends without an error.

    The block ends what these workers left behind. A process that is killed within it forgets nothing: the files are still there,
    and the next one begins again. The locks are held until then, so no two processes clean up after one session.
    """
    with ExitStack() as held:
        dead = list(islice((path for path in sorted(directory.glob("*")) if _locked_if_dead(path, held)), _AT_ONCE))
        yield [path.name for path in dead]
        for path in dead:
            path.unlink(missing_ok=True)


def collect_dead_sessions(directory: Path) -> list[str]:
    """Removes the files whose locks no process holds any more, and returns the sessions of their workers, or some of them."""
    with dead_sessions(directory) as dead:
        return dead


def _locked_if_dead(path: Path, held: ExitStack) -> bool:
    """Locks the file of a session, for as long as `held` is open, if no process holds that lock."""
    with suppress(BlockingIOError, FileNotFoundError), ExitStack() as life:
        file = life.enter_context(path.open("r+"))
        if _is_of_another_host(file):
            return False
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_still(path, file):
            held.push(life.pop_all())
            return True
    return False
