"""Numbered migrations of the tables, by Alembic's operations.

`step_5.py` turns tables of version 4 into tables of version 5, in every database that had version 4. A new database is made from
`schema` at once, so a step describes the tables of its time by itself and imports nothing of `schema`.

A step may find a table, column or index that is there already: programs between two versions made some of them. Alembic takes
time to load, so it is imported only when there is something to migrate.

To change the tables: change `schema`, raise its `VERSION`, write the step, and run `python tests/databases/make.py`, which keeps
a database of the new version for the tests.
"""

from __future__ import annotations

from importlib import import_module

import sqlalchemy as sa

from broodline.storage.sql import schema

OLDEST = 1


def migrate(connection: sa.Connection, found: int) -> None:
    """Brings tables of an older version up to date, in the transaction of the caller.

    Args:
        connection: The database, which no other process uses.
        found: The version of its tables.
    """
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    operations = Operations(MigrationContext.configure(connection))
    for number in range(found + 1, schema.VERSION + 1):
        import_module(f"{__name__}.step_{number}").upgrade(operations)
        connection.execute(sa.update(schema.version), {"version": number})
