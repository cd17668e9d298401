"""SQLite: the store of one machine. WAL, durable commits, one writer at a time that says so from the start."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

from broodline.core.population import Progress
from broodline.errors import StoreError, StoreUnavailable
from broodline.storage.base import Clock
from broodline.storage.sql import schema
from broodline.storage.sql.rows import row_of_progress
from broodline.storage.sql.transaction import SqlTransaction
from broodline.storage.sqlite.connections import check_version, engine_for, reading, writing
from broodline.storage.sqlite.file import can_be_written, check_file

_WATCH_SECONDS = 0.005


class SqliteStore:
    """The studies in one SQLite file.

    Args:
        path: The file; None is a database in memory, for tests and simulations.
        clock: Seconds since the epoch.
        create: Make the file if it isn't there.

    Raises:
        StoreError: It can't be used: not a database, of a newer version, on a network file system, not there.
    """

    def __init__(self, path: Path | None, *, clock: Clock = time.time, create: bool = True) -> None:
        self._clock, self._path = clock, path
        self._watcher: sqlite3.Connection | None = None
        self._one_watcher = threading.Lock()
        if path is not None:
            check_file(path, create)
        # Whoever may read a study may look at it, also where nothing can be written: on a medium, in another's directory.
        self._read_only = path is not None and path.exists() and not can_be_written(path)
        self._engine = engine_for(path, read_only=self._read_only)
        self._seen = 0
        try:
            with self._errors():
                check_version(self._engine, path, read_only=self._read_only)
        except BaseException:
            self.close()
            raise

    def create(self, name: str, definition: str) -> bool:
        self._check_writable()
        row = {"name": name, "definition": definition, **row_of_progress(Progress())}
        with self._errors(), writing(self._engine) as connection:
            if connection.scalar(sa.select(schema.studies.c.id).where(schema.studies.c.name == name)) is not None:
                return False
            connection.execute(sa.insert(schema.studies), row)
        return True

    def studies(self) -> tuple[str, ...]:
        with self._errors(), reading(self._engine) as connection:
            return tuple(connection.scalars(sa.select(schema.studies.c.name).order_by(schema.studies.c.id)))

    @contextmanager
    def transaction(self, study: str) -> Iterator[SqlTransaction]:
        self._check_writable()
        with self._errors():
            self._seen = self._version()
        with self._errors(), writing(self._engine) as connection:
            yield SqlTransaction(connection, study, self._clock())

    @contextmanager
    def snapshot(self, study: str) -> Iterator[SqlTransaction]:
        with self._errors(), reading(self._engine) as connection:
            yield SqlTransaction(connection, study, self._clock())

    def wait_for_change(self, seconds: float) -> None:
        """Looks at SQLite's own counter of commits, which costs microseconds and takes no lock.

        What counts is a commit since the last transaction began, so none is missed between that and the waiting.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._has_changed():
            time.sleep(min(_WATCH_SECONDS, left))

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
        self._engine.dispose()

    def copy_to(self, path: Path) -> None:
        """Writes all of it into a new file, which is a store too.

        Raises:
            StoreError: The file is there already, or can't be written.
        """
        if path.exists():
            raise StoreError(f"{path}: exists; name a new file")
        check_file(path, create=True)
        with self._errors(), self._engine.connect() as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (str(path),))

    def _check_writable(self) -> None:
        if self._read_only:
            raise StoreError(f"{self._path}: can't be written, so this study can only be looked at")

    def _has_changed(self) -> bool:
        with suppress(sqlite3.OperationalError):  # who asks next is told
            return self._version() != self._seen
        return False

    def _version(self) -> int:
        if self._path is None or self._read_only:
            return 0
        with self._one_watcher:  # threads that share a store must not each open a connection
            if self._watcher is None:
                self._watcher = sqlite3.connect(self._path, check_same_thread=False)
        return int(self._watcher.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.OperationalError, sqlite3.OperationalError) as error:
            raise StoreUnavailable(f"{self._path}: {getattr(error, 'orig', error)}") from error
        except sa.exc.DatabaseError as error:
            if isinstance(error, sa.exc.IntegrityError):
                raise
            raise StoreError(f"{self._path}: {error.orig}; is it a database of broodline?") from error
