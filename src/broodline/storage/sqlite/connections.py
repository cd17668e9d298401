"""Connections to SQLite: their settings, their locks, and the version of their tables.

Theory of operation: locking and durability
-------------------------------------------

The database runs in WAL mode: a writer appends to a log, and readers see the state at their first read. So a snapshot never
blocks a writer and is never blocked, and there is one writer at a time.

Every transaction of the controller reads before it writes. In SQLite such a transaction starts as a reader, and fails if
another one has written in the meantime. A writer therefore takes the lock at its begin, with BEGIN IMMEDIATE: after that the
records that it reads can't change, and its commit can't conflict.

`synchronous=FULL` flushes the log at every commit. The controller answers after the commit, so a power failure loses no trial
that a worker knows to be complete.

SQLite copies the log into the database (a checkpoint) but starts the log again only in a moment without readers. With many
workers there is no such moment, and the log grows until the disk is full. `empty_log` therefore waits for the readers of the
moment, which are short, and truncates the log. The store calls it when the log is larger than `LOG_BYTES`.

SQLite waits for a lock in steps of 1, 2, 5, 10 ms and more, while a transaction of the controller takes 2 ms. Two busy
workers would lose half of their time in such waits. `_begin_writing` polls the lock itself, in steps of 0.2 to 5 ms. A poll
takes a tenth of a millisecond of a core: 50 workers that poll each 5 ms would leave no core to the one that holds the lock.
After 50 ms the steps therefore grow to a tenth of the time that was waited.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.pool import QueuePool, StaticPool

from broodline.errors import StoreError
from broodline.storage.sql import schema
from broodline.storage.sqlite.file import opened_for_reading, opened_for_writing

BUSY_SECONDS = 30.0
LOG_BYTES = 4 << 20
_LOG_PAGES = 256  # after which a commit copies the log into the database
_LOG_WAIT = 0.25  # seconds for the readers of the moment
_FIRST_PAUSE, _LONG_PAUSE, _LONGEST_PAUSE = 0.0002, 0.005, 0.1  # seconds
_PAUSE_SHARE = 0.1  # of the time that was waited


class _Compiler(SQLiteCompiler):
    """Writes the index hints of `sql.queries` into the statements; SQLAlchemy leaves them out for SQLite."""

    def get_from_hint_text(self, table: sa.FromClause, text: str | None) -> str | None:
        return text


def engine_for(path: Path | None, *, read_only: bool) -> sa.Engine:
    """Connections to the database in a file, or in memory if there is no path."""
    options: dict[str, Any] = {"connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False}}
    if path is not None and read_only:
        engine = sa.create_engine("sqlite://", poolclass=StaticPool, creator=partial(opened_for_reading, path))
    elif path is None:
        engine = sa.create_engine("sqlite://", poolclass=StaticPool, **options)
    else:
        pool: dict[str, Any] = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 8}
        engine = sa.create_engine("sqlite://", creator=partial(opened_for_writing, path, BUSY_SECONDS), **pool)
    engine.dialect.statement_compiler = _Compiler
    sa.event.listen(engine, "connect", _closed_on_error(_configure_for_reading if read_only else _configure))
    return engine


def _closed_on_error(configure: Callable[[sqlite3.Connection, object], None]) -> Callable[[sqlite3.Connection, object], None]:
    """Configures a connection, and closes one that can't be configured: SQLAlchemy leaves it open."""

    def configured(connection: sqlite3.Connection, record: object) -> None:
        try:
            configure(connection, record)
        except BaseException:
            connection.close()
            raise

    return configured


def _configure_for_reading(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only=ON")
    _check_tables(connection)


def _configure(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself
    _check_tables(connection)
    # If several processes open a new database at once, SQLite refuses all but one of them and does not wait.
    _insist(connection, "PRAGMA journal_mode=WAL")
    for pragma in ("synchronous=FULL", "foreign_keys=ON", f"wal_autocheckpoint={_LOG_PAGES}"):
        connection.execute(f"PRAGMA {pragma}")


def _check_tables(connection: sqlite3.Connection) -> None:
    """Refuses a database of another program before it is changed."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and schema.version.name not in tables:
        (_, _, path), *_ = connection.execute("PRAGMA database_list")
        raise StoreError(f"{path}: is an SQLite database of another program\nhelp: name another file with --store")


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that sees the database as it was when it first read."""
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection in a transaction that holds the write lock."""
    with engine.begin() as connection:
        _begin_writing(connection)
        yield connection


def empty_log(engine: sa.Engine) -> None:
    """Copies the log into the database and truncates it, unless a reader needs it for longer.

    Raises:
        sqlite3.Error: The database can't be written.
    """
    with engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        raw.execute(f"PRAGMA busy_timeout={_LOG_WAIT * 1000:.0f}")
        try:
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            raw.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000:.0f}")


def _begin_writing(connection: sa.Connection) -> None:
    """Takes the write lock of the database, with shorter waits than SQLite's own."""
    raw: Any = connection.connection.dbapi_connection
    raw.execute("PRAGMA busy_timeout=0")
    try:
        _insist(raw, "BEGIN IMMEDIATE")
    finally:
        raw.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000:.0f}")


def _insist(raw: sqlite3.Connection, statement: str) -> None:
    """Executes a statement as soon as the database is not locked, for at most `BUSY_SECONDS`."""
    began, pause = time.monotonic(), _FIRST_PAUSE
    while not _executed(raw, statement, give_up=(waited := time.monotonic() - began) >= BUSY_SECONDS):
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(1.5 * pause, _longest_pause(waited))


def _longest_pause(waited: float) -> float:
    """The longest pause before the next poll of a lock, after so many seconds.

    >>> [_longest_pause(seconds) for seconds in (0.0, 0.05, 0.5, 30.0)]
    [0.005, 0.005, 0.05, 0.1]
    """
    return min(max(_LONG_PAUSE, _PAUSE_SHARE * waited), _LONGEST_PAUSE)


def _executed(raw: sqlite3.Connection, statement: str, *, give_up: bool) -> bool:
    try:
        raw.execute(statement)
    except sqlite3.OperationalError as error:
        if give_up or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True
