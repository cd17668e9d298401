"""The directories of the files of studies, for stores whose files lie in a directory that is given."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(operations: Operations) -> None:
    """Makes the table of directories."""
    operations.create_table(
        "directories",
        sa.Column("study", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("place", sa.Text),
        if_not_exists=True,
    )
