"""The tables.

UNIQUE(study, generation, member) lets the database enforce two rules: a member has one trial in each generation, and a trial
initiates at most one child.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

# Every change raises the version, also that of an index, since queries name indexes, and needs a step in `migrations`. A store
# of a newer version is refused.
# 2: scores. 3: the index of pending trials. 4: the identity of the store; the most trained of equal trials is best; doubtful
# trials; open leaves; which scores count at a step. 5: the directories of studies; reports are numbered.
VERSION = 5

# The indexes and the queries share these conditions word for word: SQLite only then finds the partial index of a query.
UNFINISHED = sa.text("state IN ('pending', 'running')")
PENDING = sa.text("state = 'pending'")
RUNNING = sa.text("state = 'running'")
COMPLETED = sa.text("state = 'completed'")
DOUBTFUL = sa.text("state = 'completed' AND reason IS NOT NULL")
NOT_INITIATED = sa.text("child IS NULL AND state IN ('completed', 'failed', 'stopped')")
# It holds no trial of a study whose lineages mix, so those studies do not pay for its indexes.
OPEN_LEAF = sa.text("extendable AND child IS NULL AND checkpoint IS NOT NULL")
SWEEPABLE = sa.text("checkpoint IS NOT NULL AND NOT kept")

# Of 64 bits in every database. SQLite's are, and only a column of the type INTEGER is a key that counts up there.
INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

metadata = sa.MetaData()

version = sa.Table("broodline", metadata, sa.Column("version", INTEGER, nullable=False))

# One row; `storage.sqlite.identity` explains it.
identity = sa.Table(
    "identity",
    metadata,
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("adopts", sa.Text),
    sa.Column("place", sa.Text),
    sa.Column("files", sa.Text),
)

# The directory of each study's files, for stores whose files lie elsewhere: `storage.base.FilesRecord`. A row can be older than
# its study, and is removed after the files.
directories = sa.Table(
    "directories",
    metadata,
    sa.Column("study", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("place", sa.Text),
)

studies = sa.Table(
    "studies",
    metadata,
    sa.Column("id", INTEGER, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("trials", INTEGER, nullable=False),
    sa.Column("finished", INTEGER, nullable=False),
    sa.Column("completed", INTEGER, nullable=False),
    sa.Column("failures", INTEGER, nullable=False),
    sa.Column("steps", sa.BigInteger, nullable=False),
    sa.Column("elapsed", sa.Double, nullable=False),
    sa.Column("touched", sa.Double),
)


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, INTEGER, primary_key=True, autoincrement=False)


trials = sa.Table(
    "trials",
    metadata,
    _key("study"),
    _key("number"),
    sa.Column("member", INTEGER, nullable=False),
    sa.Column("generation", INTEGER, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("parent", INTEGER),
    sa.Column("initiator", INTEGER),
    sa.Column("opponent", INTEGER),
    sa.Column("damaged", INTEGER),
    sa.Column("child", INTEGER),
    sa.Column("extendable", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("changes", sa.Text, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("start", sa.BigInteger, nullable=False),
    sa.Column("steps", sa.BigInteger, nullable=False),
    sa.Column("attempt", INTEGER, nullable=False),
    sa.Column("reports", INTEGER, nullable=False, server_default=sa.text("0")),
    sa.Column("worker", sa.Text),
    sa.Column("session", sa.Text),
    sa.Column("lease_until", sa.Double),
    sa.Column("lost", INTEGER, nullable=False),
    sa.Column("failures", INTEGER, nullable=False),
    sa.Column("metrics", sa.Text),
    sa.Column("fitness", sa.Text),
    sa.Column("score", sa.Double),  # the first value of the fitness: what an index can order by
    sa.Column("measured", sa.BigInteger),  # the last step with a score that counts
    sa.Column("checkpoint", sa.Text),
    sa.Column("kept", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("output", sa.Text),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("started", sa.Double),
    sa.Column("finished", sa.Double),
    sa.ForeignKeyConstraint(["study"], ["studies.id"]),
    sa.UniqueConstraint("study", "generation", "member"),
    sqlite_with_rowid=False,
)


# The conditions of partial indexes, for `_set_conditions`.
_conditions: dict[sa.Index, sa.TextClause | None] = {}


def _index(name: str, *columns: str, where: sa.TextClause | None = None) -> None:
    terms = [sa.text(column) if " " in column else trials.c[column] for column in columns]
    _conditions[sa.Index(name, *terms, _table=trials)] = where


_index("unfinished_trials", "study", "number", where=UNFINISHED)
_index("pending_trials", "study", "number", where=PENDING)
_index("children_in_training", "study", "parent", where=UNFINISHED)
_index("held_trials", "study", "worker", where=RUNNING)
_index("leases", "study", "lease_until", where=RUNNING)
_index("sessions", "study", "session", where=RUNNING)
_index("completed_trials", "study", "member", "generation DESC", where=COMPLETED)
_index("best_trials", "study", "score DESC", "(start + steps) DESC", "number DESC", where=COMPLETED)
_index("doubtful_trials", "study", "number", where=DOUBTFUL)
_index("initiators", "study", "generation", "number", where=NOT_INITIATED)
_index("initiators_by_worker", "study", "worker", "finished DESC", where=NOT_INITIATED)
_index("open_leaves", "study", "generation", "number", where=OPEN_LEAF)
_index("open_leaves_by_worker", "study", "worker", "generation", "number", where=OPEN_LEAF)
_index("sweepable_checkpoints", "study", "member", where=SWEEPABLE)
_index("peers", "study", "start", "number", "measured")


def _reported() -> tuple[sa.schema.SchemaItem, ...]:
    """The columns of a row that an attempt at a trial has reported; a table needs columns of its own."""
    return (
        sa.Column("id", INTEGER, primary_key=True),
        sa.Column("study", INTEGER, nullable=False),
        sa.Column("trial", INTEGER, nullable=False),
        sa.Column("attempt", INTEGER, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["study", "trial"], ["trials.study", "trials.number"]),
    )


measurements = sa.Table(
    "measurements",
    metadata,
    *_reported(),
    sa.Column("metrics", sa.Text, nullable=False),
    sa.Index("measurements_of_trials", "study", "trial"),
)

# A score counts if it is the last one of its trial's last attempt at its step, and the trial has not failed. `start` is that of
# its trial: one index then answers which scores stand at a step, in their order, without a look at their trials.
COUNTS = sa.text("counts")

# Written only for studies that stop trials early, so that other studies do not pay for them.
scores = sa.Table(
    "scores",
    metadata,
    *_reported(),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("start", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("counts", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("scores_of_trials", "study", "trial", "attempt", "step", "id"),
)
_conditions[sa.Index("scores_at_steps", *(scores.c[column] for column in ("study", "step", "score", "start", "trial")))] = COUNTS


@sa.event.listens_for(metadata, "before_create")
def _set_conditions(_metadata: sa.MetaData, connection: sa.Connection, **_options: Any) -> None:
    """Makes the indexes partial, for the database that gets them.

    SQLAlchemy names the condition after the database and imports that dialect with the name. A condition for each database that
    broodline may use would so make every process import all of their dialects.
    """
    for index, condition in _conditions.items():
        index.dialect_kwargs[f"{connection.dialect.name}_where"] = condition
