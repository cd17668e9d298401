"""SQLite: the store of one machine. `connections` explains its locks and its durability."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

from broodline.core.population import Progress
from broodline.errors import StoreError
from broodline.storage.base import Clock
from broodline.storage.sql import schema
from broodline.storage.sql.rows import row_of_progress
from broodline.storage.sql.transaction import SqlTransaction
from broodline.storage.sqlite.connections import check_version, engine_for, reading, writing
from broodline.storage.sqlite.errors import translated
from broodline.storage.sqlite.file import can_be_written, check_file
from broodline.storage.urls import IN_MEMORY, sqlite_path

_FIRST_WATCH, _LONGEST_WATCH = 0.005, 0.05  # seconds between two looks at the counter of commits
_WATCH_SHARE = 0.05  # of the time without a commit: a longer wait may end a little later


def open_url(url: str, *, create: bool = True) -> SqliteStore:
    """The store of the scheme `sqlite`: `sqlite:///PATH`, or `sqlite://` for a database in memory.

    Raises:
        StoreError: The URL or the database can't be used.
    """
    return SqliteStore(None if url == IN_MEMORY else sqlite_path(url), create=create)


class SqliteStore:
    """The studies in one SQLite file.

    Args:
        path: The file; None is a database in memory, for tests and simulations.
        clock: Seconds since the epoch.
        create: Create the file if it does not exist.

    Raises:
        StoreError: It can't be used: missing, not a database, of a newer version, or on a network file system.
    """

    def __init__(self, path: Path | None, *, clock: Clock = time.time, create: bool = True) -> None:
        self._clock, self._path = clock, path
        self._watcher: sqlite3.Connection | None = None
        self._one_watcher = threading.Lock()
        if path is not None:
            check_file(path, create)
        # A study can be read also where nothing can be written: on a read-only medium, or in a directory of another user.
        self._read_only = path is not None and path.exists() and not can_be_written(path)
        self._engine = engine_for(path, read_only=self._read_only)
        self._seen, self._changed = 0, time.monotonic()
        try:
            with translated(self._path):
                check_version(self._engine, path, read_only=self._read_only)
        except BaseException:
            self.close()
            raise

    def create(self, name: str, definition: str) -> bool:
        self._check_writable()
        row = {"name": name, "definition": definition, **row_of_progress(Progress())}
        with translated(self._path), writing(self._engine) as connection:
            if connection.scalar(sa.select(schema.studies.c.id).where(schema.studies.c.name == name)) is not None:
                return False
            connection.execute(sa.insert(schema.studies), row)
        return True

    def studies(self) -> tuple[str, ...]:
        with translated(self._path), reading(self._engine) as connection:
            return tuple(connection.scalars(sa.select(schema.studies.c.name).order_by(schema.studies.c.id)))

    @contextmanager
    def transaction(self, study: str) -> Iterator[SqlTransaction]:
        self._check_writable()
        with translated(self._path):
            self._look()
        with translated(self._path), writing(self._engine) as connection:
            yield SqlTransaction(connection, study, self._clock())

    @contextmanager
    def snapshot(self, study: str) -> Iterator[SqlTransaction]:
        with translated(self._path), reading(self._engine) as connection:
            yield SqlTransaction(connection, study, self._clock())

    def wait_for_change(self, seconds: float) -> None:
        """Polls SQLite's counter of commits, which costs microseconds and takes no lock.

        It compares with the counter at the begin of the last transaction, so it misses no commit between that and the wait.
        Each poll wakes a core, so polls become rarer the longer nothing was committed, also over several waits.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._has_changed():
            quiet = _WATCH_SHARE * (time.monotonic() - self._changed)
            time.sleep(min(max(_FIRST_WATCH, quiet), _LONGEST_WATCH, left))

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
        self._engine.dispose()

    def copy_to(self, path: Path) -> None:
        """Writes the whole store into a new file, which is a store too.

        Raises:
            StoreError: The file exists, or can't be written.
        """
        if path.exists():
            raise StoreError(f"{path}: exists; name a new file")
        check_file(path, create=True)
        with translated(self._path), self._engine.connect() as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (str(path),))

    def _check_writable(self) -> None:
        if self._read_only:
            raise StoreError(f"{self._path}: can't be written, so this study can only be read")

    def _look(self) -> None:
        """Remembers the counter of commits, and when it last differed."""
        version = self._version()
        if version != self._seen:
            self._seen, self._changed = version, time.monotonic()

    def _has_changed(self) -> bool:
        with suppress(sqlite3.Error):  # the next transaction reports it
            return self._version() != self._seen
        return False

    def _version(self) -> int:
        if self._path is None or self._read_only:
            return 0
        with self._one_watcher:  # threads that share a store must not each open a connection
            if self._watcher is None:
                self._watcher = sqlite3.connect(self._path, check_same_thread=False)
        return int(self._watcher.execute("PRAGMA data_version").fetchone()[0])
