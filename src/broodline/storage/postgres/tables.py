"""The tables of a PostgreSQL store: made in a new database, and refused in a database of another version or program."""

from __future__ import annotations

import sqlalchemy as sa

from broodline.errors import StoreError, StoreMissing
from broodline.storage.postgres.connections import reading, writing
from broodline.storage.sql import schema
from broodline.storage.sql.versions import check_not_newer, older

TABLES = tuple(table for table in schema.metadata.sorted_tables if table is not schema.identity)  # which is of SQLite
CREATION = 0x62726F6F646C696E  # the key of the lock under which tables are made: "broodlin"
_STATE = sa.select(
    sa.func.to_regclass(schema.version.name).is_not(None),
    sa.func.current_setting("server_encoding"),
    sa.func.current_schema(),
    *(sa.func.to_regclass(table.name).is_not(None).label(table.name) for table in TABLES if table is not schema.version),
)


def check_tables(engine: sa.Engine, name: str, *, create: bool) -> None:
    """Makes the tables of a new database, and refuses a database that can't be used.

    Args:
        engine: The database.
        name: Its name in messages.
        create: Make tables where there are none.

    Raises:
        StoreMissing: There are no tables, and none are to be made.
        StoreError: They are of another version, or of another program.
    """
    with reading(engine) as connection:
        found = version_in(connection, name)
    if found is None and not create:
        raise StoreMissing(f"{name}: the database has no tables of broodline; is --store right, and has the study been run?")
    if found is None:
        with writing(engine) as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(CREATION)))
            found = version_in(connection, name) or _made(connection)  # another process may have made them before the lock
    check_version(found, name)


def check_version(found: int, name: str) -> None:
    """Refuses tables of another version than the one of this program.

    Raises:
        StoreError: They are older or newer.
    """
    check_not_newer(found, name)
    if found < schema.VERSION:
        raise older(found, name, "\nhelp: stop all runs and workers that use it, then upgrade it: broodline upgrade --store URL")


def version_in(connection: sa.Connection, name: str) -> int | None:
    """The version of the tables; None if there are none.

    Raises:
        StoreError: The tables are of another program, or the database can't hold every string.
    """
    exists, encoding, current, *others = connection.execute(_STATE).one()
    if encoding != "UTF8":
        raise StoreError(f"{name}: its encoding is {encoding}; make a database with `createdb --encoding UTF8 -T template0`")
    if current is None:
        raise StoreError(f"{name}: no schema of the search path exists, or the user lacks the privilege USAGE on it")
    if exists:
        return connection.scalar(sa.select(schema.version.c.version))
    if any(others):
        raise StoreError(
            f"{name}: the schema '{current}' has tables of another program that have the names of ours\n"
            "help: use another database, or another schema: postgresql://HOST/DATABASE?options=-csearch_path%3Dbroodline"
        )
    return None


def _made(connection: sa.Connection) -> int:
    schema.metadata.create_all(connection, tables=list(TABLES), checkfirst=False)
    connection.execute(sa.insert(schema.version), {"version": schema.VERSION})
    return schema.VERSION
