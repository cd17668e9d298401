"""SQLite: the store of one machine. `connections` explains its locks and its durability."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

from broodline.core.population import Progress
from broodline.errors import StoreError, StoreFull, StoreUnavailable
from broodline.storage.base import Clock, FilesRecord
from broodline.storage.sql import directories, schema
from broodline.storage.sql.queries import FIND_STUDY
from broodline.storage.sql.rows import row_of_progress
from broodline.storage.sql.transaction import SqlTransaction, study_row
from broodline.storage.sql.versions import Upgrade
from broodline.storage.sqlite.connections import (
    BUSY_SECONDS,
    LOG_BYTES,
    empty_log,
    engine_for,
    reading,
    writing,
)
from broodline.storage.sqlite.errors import translated
from broodline.storage.sqlite.file import can_be_written, check_file, opened_for_writing
from broodline.storage.sqlite.place import DatabasePlace, rescue
from broodline.storage.sqlite.tables import check_tables, upgrade_database
from broodline.storage.urls import IN_MEMORY, sqlite_path

_FIRST_WATCH, _LONGEST_WATCH = 0.005, 0.05  # seconds between two looks at the counter of commits
_WATCH_SHARE = 0.05  # of the time without a commit: a longer wait may end a little later


def open_url(url: str, *, create: bool = True) -> SqliteStore:
    """The store of the scheme `sqlite`: `sqlite:///PATH`, or `sqlite://` for a database in memory.

    Raises:
        StoreError: The URL or the database can't be used.
    """
    return SqliteStore(None if url == IN_MEMORY else sqlite_path(url), create=create)


def upgrade(url: str) -> Upgrade:
    """Brings the tables of a store up to date.

    Raises:
        StoreError: There is no such database, another process uses it, or it is of a newer version.
    """
    return upgrade_database(sqlite_path(url))


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
        self._rescued: Path | None = None
        if path is not None:
            check_file(path, create)
            if create:
                path.touch()
        # A study can be read also where nothing can be written: on a read-only medium, or in a directory of another user.
        self._read_only = path is not None and path.exists() and not can_be_written(path)
        self._place = DatabasePlace(path)
        self._engine = engine_for(path, read_only=self._read_only)
        self._seen, self._changed, self._longest_log = 0, time.monotonic(), LOG_BYTES
        self._log = None if path is None else f"{path}-wal"
        try:
            with translated(self._path):
                check_tables(self._engine, path, read_only=self._read_only)
                self._version()  # opens the other connection while the file has its name: `rescue` reads from it
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

    def delete(self, name: str) -> None:
        with self.transaction(name) as records:
            records.delete_study()

    def studies(self) -> tuple[str, ...]:
        with translated(self._path), reading(self._engine) as connection:
            return tuple(connection.scalars(sa.select(schema.studies.c.name).order_by(schema.studies.c.id)))

    @contextmanager
    def transaction(self, study: str) -> Iterator[SqlTransaction]:
        self._check_writable()
        self._check_place()
        with translated(self._path):
            self._look()
        try:
            with translated(self._path), writing(self._engine) as connection:
                self._place.check()
                yield SqlTransaction(connection, study_row(connection, FIND_STUDY, study), self._clock())
                self._place.check()  # as late as possible: a commit into a file without a name would be lost
        except StoreFull:
            self._empty_log()  # its space may be all that is missing when the call is repeated
            raise
        self._bound_log()

    @contextmanager
    def snapshot(self, study: str) -> Iterator[SqlTransaction]:
        self._check_place()
        with translated(self._path), reading(self._engine) as connection:
            yield SqlTransaction(connection, study_row(connection, FIND_STUDY, study), self._clock())

    def files_record(self, study: str) -> FilesRecord | None:
        with translated(self._path), reading(self._engine) as connection:
            return directories.files_record(connection, study)

    def replace_files_record(self, study: str, before: FilesRecord | None, after: FilesRecord | None) -> bool:
        self._check_writable()
        with translated(self._path), writing(self._engine) as connection:
            return directories.replace_files_record(connection, study, before, after)

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
            raise StoreError(f"{path}: exists\nhelp: name a new file")
        check_file(path, create=True)
        with translated(self._path), self._engine.connect() as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (str(path),))

    def _bound_log(self) -> None:
        """Empties a log that has grown too long; if a long reader prevents that, not before it has grown twice as long."""
        if self._log is None:
            return
        try:
            size = os.stat(self._log).st_size
        except OSError:
            return
        if size > self._longest_log:
            self._longest_log = LOG_BYTES if self._empty_log() else 2 * size

    def _empty_log(self) -> bool:
        """Empties the log; returns whether that worked. A failure is none of the caller's: its transaction is over."""
        with suppress(sqlite3.Error, sa.exc.DBAPIError, OSError):
            empty_log(self._engine)
            return self._log is None or os.stat(self._log).st_size == 0
        return False

    def _check_writable(self) -> None:
        if self._read_only:
            raise StoreError(f"{self._path}: can't be written, so this study can only be read")

    def _check_place(self) -> None:
        """Refuses to use a file that lost its name, once all that it holds is saved."""
        if self._place.holds:
            self._rescued = None
            return
        if self._rescued is None and self._path is not None and not self._read_only:
            with suppress(StoreError, StoreUnavailable), translated(self._path):
                assert self._watcher is not None
                with writing(self._engine):
                    self._rescued = rescue(self._watcher, self._path)
        self._place.check(self._rescued)

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
                self._watcher = opened_for_writing(self._path, BUSY_SECONDS)
        return int(self._watcher.execute("PRAGMA data_version").fetchone()[0])
