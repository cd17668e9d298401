"""SQLite: the store of one machine. WAL, durable commits, one writer at a time that says so from the start."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.pool import StaticPool

from broodline.errors import StoreError, StoreUnavailable
from broodline.model import Progress
from broodline.stores import Clock, schema
from broodline.stores.rows import row_of_progress
from broodline.stores.sql import SqlTransaction

BUSY_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0002, 0.005
_WATCH_SECONDS = 0.005
_MAGIC = b"SQLite format 3\x00"
_LOGGED = slice(18, 20)  # in the file's head: 2 if the database is written through a log (WAL), 1 if not
_NETWORK_FILE_SYSTEMS = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "lustre",
        "beegfs",
        "gpfs",
        "ceph",
        "glusterfs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "fuse.s3fs",
        "afs",
        "9p",
        "ocfs2",
        "gfs2",
    ]
)


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
        if path is not None:
            _check_file(path, create)
        # Whoever may read a study may look at it, also where nothing can be written: on a medium, in another's directory.
        self._read_only = path is not None and path.exists() and not _can_be_written(path)
        self._engine = _engine_for(path, read_only=self._read_only)
        self._seen = 0
        try:
            with self._errors():
                _check_version(self._engine, path, read_only=self._read_only)
        except BaseException:
            self.close()
            raise

    def create(self, name: str, definition: str) -> bool:
        self._check_writable()
        row = {"name": name, "definition": definition, **row_of_progress(Progress())}
        with self._errors(), _writing(self._engine) as connection:
            if connection.scalar(sa.select(schema.studies.c.id).where(schema.studies.c.name == name)) is not None:
                return False
            connection.execute(sa.insert(schema.studies), row)
        return True

    def studies(self) -> tuple[str, ...]:
        with self._errors(), _reading(self._engine) as connection:
            return tuple(connection.scalars(sa.select(schema.studies.c.name).order_by(schema.studies.c.id)))

    @contextmanager
    def transaction(self, study: str) -> Iterator[SqlTransaction]:
        self._check_writable()
        with self._errors():
            self._seen = self._version()
        with self._errors(), _writing(self._engine) as connection:
            yield SqlTransaction(connection, study, self._clock())

    @contextmanager
    def snapshot(self, study: str) -> Iterator[SqlTransaction]:
        with self._errors(), _reading(self._engine) as connection:
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
        _check_file(path, create=True)
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


class _Compiler(SQLiteCompiler):
    """Writes the hints of `stores.sql` into the statements, which SQLAlchemy leaves out for SQLite."""

    def get_from_hint_text(self, table: sa.FromClause, text: str | None) -> str | None:
        return text


def _engine_for(path: Path | None, *, read_only: bool) -> sa.Engine:
    options: dict[str, Any] = {"connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False}}
    if path is not None and read_only:
        engine = sa.create_engine("sqlite://", poolclass=StaticPool, creator=partial(_opened_for_reading, path))
    elif path is None:
        engine = sa.create_engine("sqlite://", poolclass=StaticPool, **options)
    else:
        engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), pool_size=1, max_overflow=8, **options)
    engine.dialect.statement_compiler = _Compiler
    sa.event.listen(engine, "connect", _configure_for_reading if read_only else _configure)
    return engine


def _opened_for_reading(path: Path) -> sqlite3.Connection:
    """Opens a database where nothing can be written; what is written elsewhere meanwhile is seen, if it can be.

    SQLite reads such a database if somebody has it open. If nobody has, it would have to make its log, and can't: then all of
    the database is in its one file, and a copy of that in memory is as good.
    """
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, check_same_thread=False)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        return _copied(path)
    return connection


def _copied(path: Path) -> sqlite3.Connection:
    log = path.with_name(f"{path.name}-wal")
    before = path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    if (log.exists() and log.stat().st_size) or path.stat().st_mtime_ns != before:
        raise StoreError(
            f"{path}: can't be read in a place that can't be written while there is a log, {log.name}: "
            "copy both to a place that can be written, and look at it there with --store sqlite:///PATH"
        )
    content[_LOGGED] = bytes(2 * [1])  # a database in memory has no log
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.deserialize(bytes(content))
    return connection


def _configure_for_reading(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only=ON")
    _check_tables(connection)


def _configure(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where we say so, not where the driver guesses
    _check_tables(connection)
    # Of several that open a new database at once, SQLite tells all but one that it is locked, and does not wait itself.
    _insist(connection, "PRAGMA journal_mode=WAL")
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _check_tables(connection: sqlite3.Connection) -> None:
    """Refuses a database of another program before anything is changed in it."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and schema.version.name not in tables:
        (_, _, path), *_ = connection.execute("PRAGMA database_list")
        raise StoreError(f"{path}: is an SQLite database of another program; name another file with --store")


@contextmanager
def _reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        yield connection


@contextmanager
def _writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.begin() as connection:
        # A transaction that reads first and writes later could find itself outdated: writers take the lock at once.
        _begin_writing(connection)
        yield connection


def _begin_writing(connection: sa.Connection) -> None:
    """Takes the lock of the database, in SQLite's place.

    SQLite itself looks for it after 1, 2, 5, 10 ms and so on, while a transaction of ours takes 2: half of the time of two busy
    workers would go by in such waits.
    """
    raw: Any = connection.connection.dbapi_connection
    raw.execute("PRAGMA busy_timeout=0")
    try:
        _insist(raw, "BEGIN IMMEDIATE")
    finally:
        raw.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000:.0f}")


def _insist(raw: sqlite3.Connection, statement: str) -> None:
    """Executes a statement as soon as the database is not locked."""
    until, pause = time.monotonic() + BUSY_SECONDS, _FIRST_PAUSE
    while not _executed(raw, statement, give_up=time.monotonic() >= until):
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(1.5 * pause, _LONGEST_PAUSE)


def _executed(raw: sqlite3.Connection, statement: str, *, give_up: bool) -> bool:
    try:
        raw.execute(statement)
    except sqlite3.OperationalError as error:
        if give_up or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _check_version(engine: sa.Engine, path: Path | None, *, read_only: bool) -> None:
    """Makes the tables in a new database, adds to an older one what is new, and refuses one that this code does not know."""
    with _reading(engine) as connection:
        found = _version_in(connection)
    if read_only and (found is None or found < schema.VERSION):
        what = "is empty" if found is None else f"was written by an older broodline (schema {found}; this one: {schema.VERSION})"
        raise StoreError(f"{path}: {what}, and can't be written; copy it to a place that can, and name that with --store")
    if found is None or found < schema.VERSION:
        with _writing(engine) as connection:
            found = _version_in(connection)  # another process may have been faster
            if found is None or found < schema.VERSION:
                found = _brought_up_to_date(connection, found)
    if found > schema.VERSION:
        raise StoreError(
            f"{path}: this store was written by a newer broodline (schema {found}; this one knows {schema.VERSION}): "
            "upgrade broodline, or use another --store"
        )


def _brought_up_to_date(connection: sa.Connection, found: int | None) -> int:
    """Makes what is missing of the tables and indexes, and returns their version."""
    schema.metadata.create_all(connection)
    for table in schema.metadata.sorted_tables:
        for index in table.indexes:
            connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))
    note = sa.insert(schema.version) if found is None else sa.update(schema.version)
    connection.execute(note, {"version": schema.VERSION})
    return schema.VERSION


def _version_in(connection: sa.Connection) -> int | None:
    if not sa.inspect(connection).has_table(schema.version.name):
        return None
    return connection.scalar(sa.select(schema.version.c.version))


def _check_file(path: Path, create: bool) -> None:
    if not path.exists():
        if not create:
            raise StoreError(f"{path}: there is no such database; is --store right, and has the study been run?")
        if not path.parent.is_dir():
            raise StoreError(f"{path}: there is no directory {path.parent}")
    elif path.is_dir():
        raise StoreError(f"{path}: is a directory, not a database")
    elif not os.access(path, os.R_OK):
        raise StoreError(f"{path}: can't be read: permission denied")
    elif path.stat().st_size and not _starts_like_sqlite(path):
        raise StoreError(f"{path}: is not an SQLite database; name another file with --store")
    if create and not _can_be_written(path):
        raise StoreError(f"{path}: can't be written; name a place that can with --store sqlite:///PATH")
    kind = file_system_of(path.parent)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise StoreError(
            f"{path}: SQLite is not safe on a network file system ({kind}): several machines would corrupt it. "
            "Put the store on a local disk with --store sqlite:///PATH"
        )


def _can_be_written(path: Path) -> bool:
    return all(os.access(place, os.W_OK) for place in (path.parent, path) if place.exists())


def _starts_like_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def file_system_of(directory: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The type of the file system that holds a directory, such as `ext4` or `nfs4`; None where the system does not tell."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    place = directory.resolve()
    points = {Path(field[1].replace("\\040", " ")): field[2] for field in (line.split() for line in lines)}
    inside = [point for point in points if place.is_relative_to(point)]
    return points[max(inside, key=lambda point: len(point.parts))] if inside else None
