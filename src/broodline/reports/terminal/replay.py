"""A replay next to its source, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from rich.console import Group
from rich.table import Table

from broodline.core.json_values import number
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial
from broodline.reports.format import format_value
from broodline.reports.replay_comparison import comparison
from broodline.reports.terminal.tables import new_table


def comparison_table(study: StudyConfig, trials: Sequence[Trial]) -> Group:
    """The comparison of a replay with its source, a table a metric."""
    rows = comparison(study, trials)
    return Group(*(_of_metric(goal.metric, rows, study.population) for goal in study.objective.goals))


def _of_metric(metric: str, rows: Sequence[dict[str, Any]], copies: int) -> Table:
    several = ("mean of copies", "lowest", "highest") if copies > 1 else ("replay",)
    found = new_table("step", f"source: {metric}", *several, right=("step", f"source: {metric}", *several))
    for row in rows:
        values = row["metrics"][metric]
        known = [value for each in values["copies"] if (value := number(each)) is not None]
        shown = [fmean(known), min(known), max(known)][: len(several)] if known else [None] * len(several)
        found.add_row(str(row["step"]), _shown(values["source"]), *map(_shown, shown))
    return found


def _shown(value: Any) -> str:
    return "-" if value is None else format_value(value)
