"""Notices that the file of a database was deleted, renamed or replaced while it is open, and saves what it held.

Theory of operation. An open connection still writes into a file that has lost its name, and all of that is gone when the last
process closes the file. So a store compares the file at its path with the one that it opened, before and within each
transaction. A transaction that finds another file, or none, does not commit.

The store then writes a copy of the open database next to its former place. It holds the write lock during that
time: a transaction that was faster has committed and is in the copy, and a later one finds the file gone. So the copy has all
that was acknowledged.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from broodline.errors import StoreMoved

RESCUED = ".rescued"


class DatabasePlace:
    """The path of a database, and the file that was opened there.

    Args:
        path: The path; None for a database in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._name = path, str(path)
        self._file = None if path is None else os.stat(path)

    @property
    def holds(self) -> bool:
        """True while the file at the path is the one that was opened."""
        if self._path is None or self._file is None:
            return True
        try:
            return os.path.samestat(os.stat(self._name), self._file)
        except OSError:
            return False

    def check(self, rescued: Path | None = None) -> None:
        """Refuses to use a file that lost its name.

        Args:
            rescued: A copy of it, for the message.

        Raises:
            StoreMoved: It was deleted, renamed or replaced.
        """
        if not self.holds:
            raise StoreMoved(f"{self._path}: {self._event()}; put the same file back{_remedy(rescued, self._path)}")

    def _event(self) -> str:
        assert self._path is not None
        return (
            f"the database was {'replaced by another file' if self._path.exists() else 'deleted or renamed'} while it is in use"
        )


def rescue(source: sqlite3.Connection, path: Path) -> Path | None:
    """Copies an open database whose file has lost its name; returns the copy, or None if there is no place for it.

    Args:
        source: A connection to it. The caller holds the write lock by another one.
        path: Its former path.
    """
    rescued, staged = path.with_name(path.name + RESCUED), path.with_name(f".{path.name}{RESCUED}.{os.getpid()}")
    try:
        staged.unlink(missing_ok=True)
        source.execute("VACUUM INTO ?", (str(staged),))
        if _extent(rescued) > _extent(staged):  # of another incident: it is not ours to replace
            staged.unlink()
        else:
            os.replace(staged, rescued)
    except (OSError, sqlite3.Error):
        with suppress(OSError):
            staged.unlink(missing_ok=True)
        return None
    return rescued


def _extent(path: Path) -> int:
    """How far the studies in a database have come; -1 if there is none."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT total(trials + finished) FROM studies").fetchone()[0])
    return -1


def _remedy(rescued: Path | None, path: Path | None) -> str:
    if rescued is None or path is None:
        return ""
    return f", or stop the run and rename {rescued.name} to {path.name}: it is a copy of all that was acknowledged"
