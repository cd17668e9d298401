"""PostgreSQL: the store of many hosts. `connections` explains its locks and its durability, `listening` how workers wait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from broodline.core.population import Progress
from broodline.storage.base import Clock, FilesRecord
from broodline.storage.postgres.address import address_of
from broodline.storage.postgres.connections import (
    READ_STUDY,
    TIME,
    announce,
    channel_of,
    engine_for,
    locked_study,
    reading,
    writing,
)
from broodline.storage.postgres.errors import translated
from broodline.storage.postgres.listening import Listener
from broodline.storage.postgres.tables import check_tables
from broodline.storage.sql import directories, schema
from broodline.storage.sql.rows import row_of_progress
from broodline.storage.sql.transaction import SqlTransaction, study_row


class PostgresStore:
    """The studies in one PostgreSQL database.

    Args:
        url: A URL of libpq. Tables are found and made along its search path.
        clock: Seconds since the epoch; None: the clock of the server.
        create: Make the tables if there are none. The database itself must exist.

    Raises:
        StoreError: It can't be used: a wrong password, no such database, of another version or program.
        StoreUnavailable: The server does not answer at the moment.
    """

    def __init__(self, url: str, *, clock: Clock | None = None, create: bool = True) -> None:
        self._address, self._clock = address_of(url), clock
        self._engine, self._listener = engine_for(self._address), Listener(self._address)
        self._channel: str | None = None
        try:
            with translated(self._address):
                check_tables(self._engine, self._address.name, create=create)
        except BaseException:
            self.close()
            raise

    def create(self, name: str, definition: str) -> bool:
        row = {"name": name, "definition": definition, **row_of_progress(Progress())}
        with translated(self._address), writing(self._engine) as connection:
            made = insert(schema.studies).on_conflict_do_nothing(index_elements=["name"]).returning(schema.studies.c.id)
            return connection.execute(made, row).first() is not None

    def delete(self, name: str) -> None:
        with self.transaction(name) as records:
            records.delete_study()

    def studies(self) -> tuple[str, ...]:
        with translated(self._address), reading(self._engine) as connection:
            return tuple(connection.scalars(sa.select(schema.studies.c.name).order_by(schema.studies.c.id)))

    @contextmanager
    def transaction(self, study: str) -> Iterator[SqlTransaction]:
        with translated(self._address), writing(self._engine) as connection:
            self._listener.mark()
            row = locked_study(connection, study)
            self._channel = channel_of(row["id"])
            yield SqlTransaction(connection, row, self._now(row))
            announce(connection, row["id"])

    @contextmanager
    def snapshot(self, study: str) -> Iterator[SqlTransaction]:
        with translated(self._address), reading(self._engine) as connection:
            row = study_row(connection, READ_STUDY, study)
            yield SqlTransaction(connection, row, self._now(row))

    def files_record(self, study: str) -> FilesRecord | None:
        with translated(self._address), reading(self._engine) as connection:
            return directories.files_record(connection, study)

    def replace_files_record(self, study: str, before: FilesRecord | None, after: FilesRecord | None) -> bool:
        with translated(self._address):
            try:
                with writing(self._engine) as connection:
                    return directories.replace_files_record(connection, study, before, after)
            except sa.exc.IntegrityError:  # another process has added it at the same time
                return False

    def wait_for_change(self, seconds: float) -> None:
        """Waits for a commit on the study of the last transaction, see `listening`."""
        if self._channel is not None:
            self._listener.wait(self._channel, seconds)

    def close(self) -> None:
        self._listener.close()
        self._engine.dispose()

    def _now(self, row: Mapping[str, Any]) -> float:
        return float(row[TIME]) if self._clock is None else self._clock()
