"""A comparison of studies, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Console

from broodline.errors import UsageError
from broodline.reports.comparison import Contender, Curve, equal_costs, grouped, metric_of
from broodline.reports.format import format_value
from broodline.reports.terminal.tables import new_table, print_whole, width
from broodline.strategies.registry import load_strategy

_RANDOM = ("random", "none")  # "none" is the old name, which the definitions of older studies hold


def method(each: Contender) -> str:
    """The search method of a study, as its strategy names it."""
    evolution = each.study.evolution
    try:
        return load_strategy(evolution).label(evolution.strategy)
    except UsageError:  # of a package that is not installed here
        return evolution.strategy


def size(each: Contender) -> str:
    """Workers and population: WxN."""
    return f"{each.study.workers}x{each.study.population}"


def show(contenders: Sequence[Contender], console: Console) -> None:
    """Prints a row a label, or a column a label if rows are too wide. Repeats show their median, and their range."""
    heads, *rows = _cells(contenders)
    made = new_table(*heads, right=heads[3:])
    for row in rows:
        made.add_row(*row)
    if width(made, console) > console.width:
        (study, *labels), *facts = zip(heads, *rows, strict=True)
        made = new_table(study, *labels, right=labels)
        for fact in facts:
            made.add_row(*fact)
    print_whole(made, console)


def _cells(contenders: Sequence[Contender]) -> list[list[str]]:
    resource, step = equal_costs(contenders)
    metric, _ = metric_of(contenders[0].study.objective)
    costs = f"{metric} at resource {resource:,}", f"{metric} at step {step:,}"
    cells = [["study", "method", "WxN", "trials", "resource", f"best {metric}", "at resource", "at step", *costs]]
    for label, group in grouped(contenders).items():
        name = label if len(group) == 1 else f"{label} ({len(group)} repeats)"
        columns: tuple[Callable[[Contender], float | None], ...] = (
            lambda each: each.trials,
            lambda each: each.by_resource.end,
            lambda each: each.score,
            lambda each: each.by_resource.points[-1][0],
            lambda each: each.best.end,
            lambda each: each.by_resource(resource),
            lambda each: each.by_step(step),
        )
        cells.append([name, _shared(map(method, group)), _shared(map(size, group)), *(_cell(map(of, group)) for of in columns)])
    return cells


def document(contenders: Sequence[Contender]) -> dict[str, Any]:
    """The comparison as a JSON value, with the points of every curve."""
    resource, step = equal_costs(contenders)
    metric, minimized = metric_of(contenders[0].study.objective)
    return {
        "metric": metric,
        "goal": "minimize" if minimized else "maximize",
        "equal_resource": resource,
        "equal_step": step,
        "studies": [_record(each, resource, step) for each in contenders],
    }


def _record(each: Contender, resource: int, step: int) -> Mapping[str, Any]:
    return {
        "label": each.label,
        "study": each.study.name,
        "strategy": each.study.evolution.strategy,
        "workers": each.study.workers,
        "population": each.study.population,
        "trials": each.trials,
        "resource": each.by_resource.end,
        "best": {
            "value": each.score,
            "trial": each.best.number,
            "resource": each.by_resource.points[-1][0],
            "step": each.best.end,
        },
        "at_equal_resource": each.by_resource(resource),
        "at_equal_step": each.by_step(step),
        "by_resource": _points(each.by_resource),
        "by_step": _points(each.by_step),
        "schedule": each.schedule.document(),
    }


def _points(curve: Curve) -> list[list[float]]:
    return [list(point) for point in curve.points]


def _shared(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _cell(values: Iterable[float | None]) -> str:
    found = [value for value in values if value is not None]
    if not found:
        return "-"
    low, middle, high = min(found), median(found), max(found)
    return _number(middle) if low == high else f"{_number(middle)} ({_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else format_value(value, 5)
