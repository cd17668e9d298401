"""The tables of a SQLite store: made in a new database, brought up to date in an older one that no other process uses.

Theory of operation. A database of an older version is upgraded when it is opened, so that a new version of broodline needs no
other command on a laptop. A process that still works with the old tables must not lose them, so the upgrade first takes a lock
that proves there is none: every connection of broodline holds a shared lock on the file for its whole life, because the database
runs in WAL mode, and a connection in the exclusive locking mode gets no lock next to it.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from broodline.errors import StoreError
from broodline.storage.sql import schema
from broodline.storage.sql.migrations import migrate
from broodline.storage.sql.versions import Upgrade, check_not_newer, older
from broodline.storage.sqlite.connections import reading, writing
from broodline.storage.sqlite.errors import translated
from broodline.storage.sqlite.file import check_file, opened_for_writing

_PATIENCE, _LOOK = 5.0, 0.05  # seconds: another process may upgrade the database, or only read its identity


def check_tables(engine: sa.Engine, path: Path | None, *, read_only: bool) -> None:
    """Creates the tables of a new database, upgrades those of an older one, and refuses a newer one.

    Raises:
        StoreError: They can't be written, are in use, or are of a newer version.
    """
    with reading(engine) as connection:
        found = _version_in(connection)
    if read_only and (found is None or found < schema.VERSION):
        if found is None:
            raise StoreError(
                f"{path}: is empty, and can't be written\nhelp: copy it to a writable directory, and name that with --store"
            )
        raise older(found, path, ", and can't be written\nhelp: copy it to a writable directory, and name that with --store")
    if found is None:
        with writing(engine) as connection:
            found = _version_in(connection) or _made(connection)  # another process may have made them before the lock
    if found < schema.VERSION and path is not None:
        engine.dispose()  # its own connections hold the lock too
        found = upgrade_file(path).after
    check_not_newer(found, path)


def upgrade_database(path: Path) -> Upgrade:
    """Brings a database up to date.

    Raises:
        StoreError: There is no such database, another process uses it, or it is of a newer version.
    """
    check_file(path, create=False)
    with translated(path):
        done = upgrade_file(path)
    check_not_newer(done.after, path)
    return done


def upgrade_file(path: Path) -> Upgrade:
    """Brings the tables of a database up to date, if no other process uses it; tables that are newer stay as they are.

    Raises:
        StoreError: Another process uses it.
    """
    with _alone(path) as connection:
        before = _version_in(connection)
        if before is None:
            raise StoreError(f"{path}: has no tables of broodline")
        if before < schema.VERSION:
            migrate(connection, before)
        return Upgrade(before=before, after=max(before, schema.VERSION))


@contextmanager
def _alone(path: Path) -> Iterator[sa.Connection]:
    """A transaction on a database that no other process has open.

    Raises:
        StoreError: Another process has it open.
    """
    with closing(opened_for_writing(path, 0.0)) as raw:
        raw.isolation_level = None
        raw.execute("PRAGMA synchronous=FULL")
        _lock(raw, path)
        raw.execute("ROLLBACK")
        engine = sa.create_engine("sqlite://", poolclass=StaticPool, creator=lambda: raw)
        with engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # the exclusive lock is still held
            yield connection


def _lock(raw: sqlite3.Connection, path: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            raw.execute("PRAGMA locking_mode=EXCLUSIVE")
            raw.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            if time.monotonic() >= until:
                rest = ", and another process uses it\nhelp: stop all runs and workers of the store, then repeat the command"
                raise StoreError(f"{path}: this store was written by an older broodline{rest}") from error
            time.sleep(_LOOK)
        else:
            return


def _made(connection: sa.Connection) -> int:
    schema.metadata.create_all(connection)
    connection.execute(sa.insert(schema.version), {"version": schema.VERSION})
    connection.execute(sa.insert(schema.identity), {"id": uuid.uuid4().hex})
    return schema.VERSION


def _version_in(connection: sa.Connection) -> int | None:
    if not sa.inspect(connection).has_table(schema.version.name):
        return None
    return connection.scalar(sa.select(schema.version.c.version))
