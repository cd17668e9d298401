"""Scores, for studies that stop trials early. Version 1 had only SQLite."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from broodline.storage.sql.migrations.operations import add_index


def upgrade(operations: Operations) -> None:
    """Makes the table of scores and its index."""
    operations.create_table(
        "scores",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study", sa.Integer, nullable=False),
        sa.Column("trial", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.ForeignKeyConstraint(["study", "trial"], ["trials.study", "trials.number"]),
        if_not_exists=True,
    )
    add_index(operations, "scores_of_trials", "scores", "study", "trial", "attempt", "step", "id")
