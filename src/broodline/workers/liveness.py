"""Which workers of this machine are dead, or stand still: each holds a lock on a file of its own for as long as it lives.

A lock goes with its process, however that ends. A process number would not do: it may be another process's by now.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def alive(directory: Path, session: str) -> Iterator[None]:
    """Holds the lock of a session."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / session
    while True:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_still(path, file):
                yield
                path.unlink(missing_ok=True)
                return


def _is_still(path: Path, file: IO[str]) -> bool:
    """False if a file was removed after it was opened and before it was locked: nobody will look at that lock."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def is_stopped(process: int) -> bool:
    """True while a process of that number is stopped, by SIGSTOP, Ctrl-Z or a debugger: it lives, and does not get on.

    Linux only, where /proc tells; elsewhere nothing is known of it, and it is taken for one that gets on.
    """
    try:
        told = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return False
    return told.rpartition(b")")[2].split()[:1] in ([b"T"], [b"t"])  # its name stands before, and may hold anything


def collect_dead_sessions(directory: Path) -> list[str]:
    """Removes the files that nobody holds any more, and returns the sessions of their workers."""
    dead = []
    for path in sorted(directory.glob("*")):
        with suppress(BlockingIOError, FileNotFoundError), path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, file):
                dead.append(path.name)
                path.unlink(missing_ok=True)
    return dead
