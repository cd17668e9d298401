"""The comparison of studies as a figure: the best metric so far by its cost, and the schedules of the best lineages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FixedLocator, MaxNLocator, NullFormatter

from broodline.core.parameters import Fixed, Float, Int, Ordered, Param
from broodline.reports.comparison import Contender, Curve, band, grouped, metric_of
from broodline.reports.figure_style import COLOURS, STYLE
from broodline.reports.format import format_value

FORMATS = (".svg", ".png", ".pdf")

_DASHES = ("-", "--", ":", "-.")
_PANEL = (4.6, 3.1)  # inches
_MOST_COLUMNS = 3
_FEWEST_TICKS, _MOST_TICKS = 3, 7
_STEP = "step, from the beginning of a lineage"
_NARROW = 20  # the ratio of the ends of a logarithmic axis: a narrower one shows no power of ten
_DECADES = 1.3  # a metric that improves by more decades gets a logarithmic axis


def draw(contenders: Sequence[Contender], path: Path) -> None:
    """Draws a comparison to a file.

    Args:
        contenders: The studies; repeats, which share a label, are drawn as their median and a band from lowest to highest.
        path: The file; its name ends in one of `FORMATS`.

    Raises:
        OSError: The file can't be written.
    """
    with mpl.rc_context(STYLE):
        figure = _figure(contenders)
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}[path.suffix]
        figure.savefig(path, dpi=150, metadata=metadata, facecolor="white")


def _figure(contenders: Sequence[Contender]) -> Figure:
    groups = grouped(contenders)
    params = _params(contenders)
    columns = 2 if not params else min(_MOST_COLUMNS, max(2, len(params)))
    rows = 1 + math.ceil(len(params) / columns)
    figure = Figure(figsize=(_PANEL[0] * columns, _PANEL[1] * rows + 0.5), layout="constrained")
    grid = figure.add_gridspec(rows, columns * 2)
    metric, minimized = metric_of(contenders[0].study.objective)
    better = "lower" if minimized else "higher"
    costs = (
        ("resource", "steps, summed over all trials", [[each.by_resource for each in group] for group in groups.values()]),
        ("step", _STEP, [[each.by_step for each in group] for group in groups.values()]),
    )
    for index, (cost, meaning, curves) in enumerate(costs):
        axes = figure.add_subplot(grid[0, index * columns : (index + 1) * columns])
        _best_so_far(axes, curves)
        axes.set(title=f"Best {metric} so far, by {cost} ({better} is better)", xlabel=meaning)
    for index, (name, param) in enumerate(params.items()):
        row, column = divmod(index, columns)
        axes = figure.add_subplot(grid[1 + row, column * 2 : column * 2 + 2])
        _schedules(axes, name, param, list(groups.values()))
        axes.set(title=f"{name}, of the best lineage", xlabel=_STEP)
    _legend(figure, groups)
    return figure


def _params(contenders: Sequence[Contender]) -> dict[str, Param]:
    """The params of the schedules that can differ, by name."""
    spaces = [each.study.space.params for each in contenders]
    used = {name for each in contenders for segment in each.schedule.segments for name in segment.params}
    known = dict(chain.from_iterable(space.items() for space in reversed(spaces)))
    return {
        name: known[name]
        for name in dict.fromkeys(chain.from_iterable(spaces))
        if name in used and not all(isinstance(space.get(name), Fixed | None) for space in spaces)
    }


def _look(index: int) -> Mapping[str, Any]:
    dashes = _DASHES[index // len(COLOURS) % len(_DASHES)]
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": dashes}


def _width(index: int, groups: Sequence[object]) -> float:
    """The width of a line: the first is the widest, so that equal lines stay visible under each other."""
    return 1.8 + 3.0 * (len(groups) - 1 - index) / max(1, len(groups))


def _best_so_far(axes: Axes, groups: Sequence[Sequence[Curve]]) -> None:
    values = []
    for index, curves in enumerate(groups):
        found = band(curves)
        if not found.points:
            continue
        costs, low, middle, high = (list(column) for column in zip(*found.points, strict=True))
        costs, (low, middle, high) = [*costs, found.end], ([*column, column[-1]] for column in (low, middle, high))
        if len(curves) > 1:
            axes.fill_between(costs, low, high, step="post", color=_look(index)["color"], alpha=0.18, linewidth=0)
        axes.step(costs, middle, where="post", linewidth=_width(index, groups), **_look(index))
        axes.plot(costs[-1], middle[-1], "o", markersize=4.5, color=_look(index)["color"], clip_on=False)
        values += [*low, *high]
    if values and min(values) > 0 and math.log10(max(values) / min(values)) > _DECADES:
        axes.set_yscale("log")
    _count_steps(axes)


def _count_steps(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlim(left=0)
    axes.margins(x=0.02)


def _schedules(axes: Axes, name: str, param: Param, groups: Sequence[Sequence[Contender]]) -> None:
    kinds = _kinds(name, param, groups)
    for index, group in enumerate(groups):
        look = {"alpha": 1.0 if len(group) == 1 else 0.7, **_look(index)}
        for each in group:
            starts = [*(segment.start for segment in each.schedule.segments), each.schedule.end]
            values = [_height(segment.params, name, kinds) for segment in each.schedule.segments]
            if kinds is None:
                axes.step(starts, [*values, values[-1]], where="post", linewidth=_width(index, groups), **look)
                axes.plot(starts[-1], values[-1], "o", markersize=4.5, color=look["color"], clip_on=False)
            else:  # a small offset keeps groups with the same value apart
                apart = (index - (len(groups) - 1) / 2) * min(0.12, 0.7 / len(groups))
                axes.hlines([value + apart for value in values], starts[:-1], starts[1:], linewidth=2.5, **look)
    if kinds is not None:
        axes.yaxis.set_major_locator(FixedLocator(range(len(kinds))))
        axes.set_yticklabels([format_value(kind) for kind in kinds])
        axes.grid(visible=False, axis="y")
        axes.set_ylim(-0.4, len(kinds) - 0.6)
    else:
        _scale(axes, param)
    _count_steps(axes)


def _kinds(name: str, param: Param, groups: Sequence[Sequence[Contender]]) -> list[Any] | None:
    """The categories of a param whose values are not numbers; None for a numeric param."""
    segments = [segment for group in groups for each in group for segment in each.schedule.segments]
    used = [segment.params[name] for segment in segments if name in segment.params]
    if isinstance(param, Float | Int | Ordered) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in used):
        return None
    kinds: list[Any] = []
    for value in [*getattr(param, "values", ()), *used]:
        if not any(value is kind or (type(value) is type(kind) and value == kind) for kind in kinds):
            kinds.append(value)
    return kinds


def _height(params: Mapping[str, Any], name: str, kinds: list[Any] | None) -> float:
    if name not in params:
        return math.nan
    value = params[name]
    if kinds is None:
        return float(value)
    return float(next(index for index, kind in enumerate(kinds) if type(kind) is type(value) and kind == value))


def _scale(axes: Axes, param: Param) -> None:
    """Sets the scale of an axis to that of its param: a logarithmic range gets a logarithmic axis.

    A replay may fix the param at a value that such an axis can't show, such as 0: then the axis stays linear.
    """
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()])
    low, high = float(np.nanmin(drawn)), float(np.nanmax(drawn))
    if isinstance(param, Float | Int) and param.log and low > 0:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        if high / low < _NARROW:
            axes.yaxis.set_major_locator(FixedLocator(_round_between(low, high)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
    elif isinstance(param, Float) and param.scale is not None and high < 1:
        axes.set_yscale("function", functions=(_from_one, _to_one))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.8g}")
        low, high = 1 - (1 - low) * 1.15, 1 - (1 - high) / 1.15
        axes.set_ylim(low, high)
        axes.yaxis.set_major_locator(FixedLocator([1 - each for each in _round_between(1 - high, 1 - low) if each <= 1]))
    elif isinstance(param, Ordered):
        values = [float(value) for value in param.values]
        if min(low, *values) > 0 and max(values) / min(values) >= 8:
            axes.set_yscale("log")
            axes.yaxis.set_minor_locator(FixedLocator([]))
        axes.yaxis.set_major_locator(FixedLocator(values))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _round_between(low: float, high: float) -> list[float]:
    """Three to seven round numbers for a logarithmic axis, as coarse as possible."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for factors in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), tuple(tenth / 10 for tenth in range(10, 100, 2))):
        all_of_them = (factor * 10.0**decade for decade in decades for factor in factors)
        found = [each for each in all_of_them if low <= each <= high]
        if len(found) >= _FEWEST_TICKS:
            break
    return found[:: math.ceil(len(found) / _MOST_TICKS) or 1]


def _from_one(values: Any) -> Any:
    return -np.log10(np.maximum(1 - np.asarray(values, dtype=float), 1e-12))


def _to_one(values: Any) -> Any:
    return 1 - 10.0 ** -np.asarray(values, dtype=float)


def _legend(figure: Figure, groups: Mapping[str, Sequence[Contender]]) -> None:
    repeats = max(len(group) for group in groups.values())
    labels = [label if len(group) == 1 else f"{label} (median of {len(group)})" for label, group in groups.items()]
    lines = [Line2D([], [], **_look(index)) for index in range(len(labels))]
    title = "band: from the lowest to the highest repeat" if repeats > 1 else None
    figure.legend(lines, labels, loc="outside upper center", ncols=min(4, len(labels)), frameon=False, title=title)
