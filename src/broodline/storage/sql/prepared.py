"""Statements that are compiled once: for each execution, SQLAlchemy's own work takes four times as long as SQLite's.

A worker's call executes a dozen statements, always the same ones. SQLAlchemy looks each one up among its compiled statements,
makes a context and describes the result, every time. Here a statement and the names of its values lead to its text and the
order of its values, and the driver executes that. All databases share the statements of `queries`.

SQLAlchemy executes three kinds: those for a server, whose answer takes longer anyway; those whose text depends on the number of
values; and all of an engine whose events are listened to, so that a listener sees each statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import sqlalchemy as sa
from sqlalchemy.sql.compiler import SQLCompiler

Values = dict[str, Any]
Row = Sequence[Any]


class Outcome(Protocol):
    """The outcome of a statement, from the driver or from SQLAlchemy."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""

    def fetchall(self) -> Sequence[Row]:
        """The rows that it returns."""

    def __iter__(self) -> Iterator[Row]: ...


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The text of a statement, the names of its values in their order, and those values that it contains itself."""

    text: str
    names: tuple[str, ...]
    constants: Values

    def ordered(self, values: Values) -> tuple[Any, ...]:
        given = {**self.constants, **values}
        return tuple([given[name] for name in self.names])


_prepared: dict[tuple[sa.Executable, str, tuple[str, ...]], _Prepared | None] = {}


def execute(connection: sa.Connection, statement: sa.Executable, values: Values | Sequence[Values]) -> Outcome:
    """Executes a statement, once or for each of several values.

    Args:
        connection: The connection.
        statement: A constant of `queries`, because it is kept with its text.
        values: The values by name. An insert or an update sets the columns of these names.

    Raises:
        sqlalchemy.exc.DBAPIError, sqlite3.Error: The database refuses the statement.
    """
    one, several = (values, ()) if isinstance(values, dict) else (values[0], values)
    prepared = _prepared_for(connection, statement, tuple(one))
    if prepared is None:
        return cast(Outcome, connection.execute(statement, values))
    driver: Any = connection.connection.dbapi_connection
    if len(several) > 1:
        return cast(Outcome, driver.executemany(prepared.text, [prepared.ordered(each) for each in several]))
    return cast(Outcome, driver.execute(prepared.text, prepared.ordered(one)))


def _prepared_for(connection: sa.Connection, statement: sa.Executable, names: tuple[str, ...]) -> _Prepared | None:
    if connection.dialect.name != "sqlite" or connection.dispatch.before_cursor_execute:
        return None
    key = (statement, connection.dialect.name, names)
    if key not in _prepared:
        _prepared[key] = _compiled(connection, statement, names)
    return _prepared[key]


def _compiled(connection: sa.Connection, statement: Any, names: tuple[str, ...]) -> _Prepared | None:
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(names))
    assert isinstance(compiled, SQLCompiler)
    if compiled.post_compile_params:
        return None
    return _Prepared(str(compiled), tuple(compiled.positiontup or ()), compiled.params)
