"""The index of pending trials."""

from __future__ import annotations

from alembic.operations import Operations

from broodline.storage.sql.migrations.operations import add_index


def upgrade(operations: Operations) -> None:
    """Makes the index."""
    add_index(operations, "pending_trials", "trials", "study", "number", where="state = 'pending'")
