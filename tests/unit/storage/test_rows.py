"""Values as rows of a database."""

from __future__ import annotations

from broodline.core.population import Progress
from broodline.storage.sql.rows import progress_of_row, row_of_progress


def test_a_sum_of_steps_that_outgrows_its_column_is_kept_as_the_largest_number_of_the_column() -> None:
    row = row_of_progress(Progress(steps=2**70))
    assert row["steps"] == 2**63 - 1
    assert progress_of_row(row).steps == 2**63 - 1
