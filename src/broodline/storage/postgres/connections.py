"""Connections to PostgreSQL: their settings, their locks and their isolation.

Theory of operation: locking and durability
-------------------------------------------

A transaction of the controller begins with a lock on the row of its study (SELECT ... FOR UPDATE). So transactions on one study
run one after the other, and each statement of one sees all that was committed before its lock: READ COMMITTED is enough, and no
transaction fails because of another one. Studies do not block each other.

The time of a transaction comes from the clock of the server, and is read after the lock. All hosts share one clock, and the
times of the trials of a study are in the order of its decisions.

A process that is suspended in the midst of a transaction holds the lock. The server ends such a transaction after `IDLE_SECONDS`.
Waiting for a lock ends after `LOCK_SECONDS`, as an error that can pass.

A snapshot is a REPEATABLE READ READ ONLY transaction. It takes no row lock and is never blocked.

The controller answers after the commit, so `synchronous_commit` must not be off.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from broodline.storage.postgres.address import Address
from broodline.storage.sql.queries import FIND_STUDY
from broodline.storage.sql.schema import studies
from broodline.storage.sql.transaction import study_row

LOCK_SECONDS, IDLE_SECONDS = 30, 60
TIME = "server_time"
_WROTE = "wrote"
# Without statistics, as in the first minutes of a study, a scan of the whole table looks cheap, and a prepared statement keeps
# to that plan. Each query has an index.
_SETTINGS = f"""
SELECT set_config('enable_seqscan', 'off', false),
       set_config('lock_timeout', '{LOCK_SECONDS}s', false),
       set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                                        ELSE current_setting('synchronous_commit') END, false)
"""
_locked = FIND_STUDY.with_for_update().cte("locked")
# A subquery with a lock is evaluated first, so the time is that after the lock.
LOCK_STUDY = sa.select(
    _locked,
    sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double).label(TIME),
    sa.func.set_config("idle_in_transaction_session_timeout", f"{IDLE_SECONDS}s", sa.true()).label("_idle"),
)
READ_STUDY = sa.select(studies, sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double).label(TIME)).where(
    studies.c.name == sa.bindparam("name")
)
_NOTIFY = sa.select(sa.func.pg_notify(sa.bindparam("channel"), ""))


def engine_for(address: Address) -> sa.Engine:
    """Connections to a database; none is made yet."""
    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=address.connect,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=8,
        use_native_hstore=False,
    )
    sa.event.listen(engine, "connect", _configure)
    sa.event.listen(engine, "checkout", _refuse_closed)
    sa.event.listen(engine, "after_cursor_execute", _note_writes)
    return engine


def _configure(connection: Any, _record: object) -> None:
    connection.execute(_SETTINGS)
    connection.commit()


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Replaces an idle connection that the server has closed, at a restart for instance. It costs no question to the server.

    The server sends nothing to an idle connection but its end, so whatever can be read is that.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise sa.exc.DisconnectionError("the server has closed the connection")


def _note_writes(connection: sa.Connection, _cursor: object, _statement: str, _values: object, context: Any, _many: bool) -> None:
    if context is not None and (context.isinsert or context.isupdate or context.isdelete):
        connection.info[_WROTE] = True


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that sees the database as it was when it first read."""
    with engine.connect() as connection:
        yield connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection in a transaction that can write."""
    with engine.begin() as connection:
        connection.info[_WROTE] = False
        yield connection


def locked_study(connection: sa.Connection, name: str) -> Mapping[str, Any]:
    """Locks the row of a study until the end of the transaction, and returns it.

    Raises:
        StudyNotFound: There is no such study.
    """
    return study_row(connection, LOCK_STUDY, name)


def channel_of(study: int) -> str:
    """The channel on which the commits of a study are announced."""
    return f"broodline_{study}"


def announce(connection: sa.Connection, study: int) -> None:
    """Wakes the processes that wait for a change of a study when this transaction commits, if it wrote anything.

    Workers that find nothing to do must not wake each other without end.
    """
    if connection.info[_WROTE]:
        connection.execute(_NOTIFY, {"channel": channel_of(study)})
