"""Operations that several steps use."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations


def add_column(operations: Operations, table: str, column: sa.Column[Any]) -> None:
    """Adds a column, unless it is there."""
    found = {each["name"] for each in sa.inspect(operations.get_bind()).get_columns(table)}
    if column.name not in found:
        operations.add_column(table, column)


def add_index(operations: Operations, name: str, table: str, *columns: str, where: str | None = None) -> None:
    """Adds an index, unless it is there; a column with a space is an expression or has a direction."""
    terms: list[Any] = [sa.text(column) if " " in column else column for column in columns]
    condition = None if where is None else sa.text(where)
    operations.create_index(name, table, terms, if_not_exists=True, sqlite_where=condition, postgresql_where=condition)
