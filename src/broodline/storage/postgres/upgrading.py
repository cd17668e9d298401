"""Brings the tables of a PostgreSQL store up to date, after a proof that no run and no worker uses them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from broodline.errors import StoreError, StoreMissing
from broodline.storage.postgres.address import Address, address_of
from broodline.storage.postgres.connections import engine_for, writing
from broodline.storage.postgres.errors import translated
from broodline.storage.postgres.tables import CREATION, version_in
from broodline.storage.sql import schema
from broodline.storage.sql.migrations import migrate
from broodline.storage.sql.versions import Upgrade, check_not_newer

_SESSIONS = sa.text(
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE application_name = 'broodline' AND datname = current_database() AND pid <> pg_backend_pid()"
)
_LEASES = sa.text("SELECT count(*) FROM trials WHERE state = 'running' AND lease_until > extract(epoch FROM clock_timestamp())")


def upgrade(url: str) -> Upgrade:
    """Brings a database up to date, in one transaction.

    Raises:
        StoreMissing: It has no tables of broodline.
        StoreError: A run or a worker uses it, or it is of a newer version.
        StoreUnavailable: The server does not answer at the moment.
    """
    address = address_of(url)
    with translated(address), _engine(address) as engine, writing(engine) as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(CREATION)))
        before = version_in(connection, address.name)
        if before is None:
            raise StoreMissing(f"{address.name}: the database has no tables of broodline; is --store right?")
        check_not_newer(before, address.name)
        if before < schema.VERSION:
            _check_unused(connection, address.name)
            migrate(connection, before)
        return Upgrade(before=before, after=schema.VERSION)


@contextmanager
def _engine(address: Address) -> Iterator[sa.Engine]:
    engine = engine_for(address)
    try:
        yield engine
    finally:
        engine.dispose()


def _check_unused(connection: sa.Connection, name: str) -> None:
    """Refuses a database that a process has open, or in which a worker holds a trial."""
    connection.execute(sa.text("LOCK TABLE studies IN ACCESS EXCLUSIVE MODE"))  # no transaction of a worker begins from now on
    sessions, leases = connection.scalar(_SESSIONS) or 0, connection.scalar(_LEASES) or 0
    if sessions or leases:
        raise StoreError(
            f"{name}: is in use ({sessions} connections of runs, workers or other commands, {leases} leased trials); "
            "nothing was changed\nhelp: stop all of them, and repeat the command; the lease of a killed worker must expire"
        )
