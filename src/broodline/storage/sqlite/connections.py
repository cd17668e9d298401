"""Connections to SQLite: configured, their tables up to date, and locked without waiting longer than need be."""

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
from sqlalchemy.pool import StaticPool

from broodline.errors import StoreError
from broodline.storage.sql import schema
from broodline.storage.sqlite.file import opened_for_reading

BUSY_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0002, 0.005


class _Compiler(SQLiteCompiler):
    """Writes the hints of `stores.sql` into the statements, which SQLAlchemy leaves out for SQLite."""

    def get_from_hint_text(self, table: sa.FromClause, text: str | None) -> str | None:
        return text


def engine_for(path: Path | None, *, read_only: bool) -> sa.Engine:
    """Connections to the database in a file; None is one in memory."""
    options: dict[str, Any] = {"connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False}}
    if path is not None and read_only:
        engine = sa.create_engine("sqlite://", poolclass=StaticPool, creator=partial(opened_for_reading, path))
    elif path is None:
        engine = sa.create_engine("sqlite://", poolclass=StaticPool, **options)
    else:
        engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), pool_size=1, max_overflow=8, **options)
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
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that sees the database as it was when it first read."""
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection in a transaction that nobody else writes beside."""
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


def check_version(engine: sa.Engine, path: Path | None, *, read_only: bool) -> None:
    """Makes the tables in a new database, adds to an older one what is new, and refuses one that this code does not know."""
    with reading(engine) as connection:
        found = _version_in(connection)
    if read_only and (found is None or found < schema.VERSION):
        what = "is empty" if found is None else f"was written by an older broodline (schema {found}; this one: {schema.VERSION})"
        raise StoreError(f"{path}: {what}, and can't be written; copy it to a place that can, and name that with --store")
    if found is None or found < schema.VERSION:
        with writing(engine) as connection:
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
