"""The identity of the store, the order of equal trials, doubtful trials, open leaves, and which scores count at a step."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic.operations import Operations

from broodline.storage.sql.migrations.operations import add_column, add_index

_OPEN_LEAF = "extendable AND child IS NULL AND checkpoint IS NOT NULL"
# The store can't know which lineages have ended: the next run marks them, and until then decisions read them too.
_MARK_LEAVES = "UPDATE trials SET extendable = 1 WHERE state = 'completed' AND child IS NULL AND checkpoint IS NOT NULL"
_COUNT_SCORES = (
    "UPDATE scores SET start = (SELECT start FROM trials AS t WHERE t.study = scores.study AND t.number = scores.trial)",
    "UPDATE scores SET counts = 1 WHERE id IN ("
    "SELECT max(s.id) FROM scores AS s JOIN trials AS t ON t.study = s.study AND t.number = s.trial AND t.attempt = s.attempt "
    "WHERE t.state <> 'failed' GROUP BY s.study, s.trial, s.step)",
    "UPDATE trials SET measured = (SELECT max(step) FROM scores AS s "
    "WHERE s.study = trials.study AND s.trial = trials.number AND s.counts)",
)


def upgrade(operations: Operations) -> None:
    """Adds columns, indexes and the identity, and fills the columns from the rows that are there."""
    zero = sa.text("0")
    add_column(operations, "trials", sa.Column("extendable", sa.Boolean, nullable=False, server_default=zero))
    add_column(operations, "trials", sa.Column("measured", sa.BigInteger))
    add_column(operations, "scores", sa.Column("start", sa.BigInteger, nullable=False, server_default=zero))
    add_column(operations, "scores", sa.Column("counts", sa.Boolean, nullable=False, server_default=zero))
    for name in ("fittest_trials", "trials_by_start"):
        operations.drop_index(name, "trials", if_exists=True)
    for statement in (_MARK_LEAVES, *_COUNT_SCORES):
        operations.execute(statement)
    _add_indexes(operations)
    _add_identity(operations)


def _add_indexes(operations: Operations) -> None:
    best = ("study", "score DESC", "start + steps DESC", "number DESC")
    add_index(operations, "best_trials", "trials", *best, where="state = 'completed'")
    doubtful = "state = 'completed' AND reason IS NOT NULL"
    add_index(operations, "doubtful_trials", "trials", "study", "number", where=doubtful)
    add_index(operations, "open_leaves", "trials", "study", "generation", "number", where=_OPEN_LEAF)
    add_index(operations, "open_leaves_by_worker", "trials", "study", "worker", "generation", "number", where=_OPEN_LEAF)
    add_index(operations, "peers", "trials", "study", "start", "number", "measured")
    add_index(operations, "scores_at_steps", "scores", "study", "step", "score", "start", "trial", where="counts")


def _add_identity(operations: Operations) -> None:
    identity = operations.create_table(
        "identity",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("adopts", sa.Text),
        sa.Column("place", sa.Text),
        sa.Column("files", sa.Text),
        if_not_exists=True,
    )
    if operations.get_bind().scalar(sa.select(sa.func.count()).select_from(identity)) == 0:
        # A database that existed before adopts the directory that an earlier version made for it.
        operations.execute(sa.insert(identity).values(id=uuid.uuid4().hex, adopts=""))
