"""The directories of the files of studies, for stores whose files lie in a directory that is given; numbered reports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from broodline.storage.sql.migrations.operations import add_column


def upgrade(operations: Operations) -> None:
    """Adds the table of directories, and the number of the last report of an attempt."""
    operations.create_table(
        "directories",
        sa.Column("study", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("place", sa.Text),
        if_not_exists=True,
    )
    add_column(operations, "trials", sa.Column("reports", sa.Integer, nullable=False, server_default=sa.text("0")))
