"""The colours of the methods, and the parts that several figures share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from broodline.reports.figure_style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILION
from studies import METHODS

COLOURS = {
    "pbt-5x5": VERMILION,
    "pbt-5x20": ORANGE,
    "grid": BLACK,
    "random": GREEN,
    "gp": BLUE,
    "cmaes": PURPLE,
    "random-deep": SKY_BLUE,
}
LOSS = "validation loss (nats a sample)"
RESOURCE = "resource: steps, summed over all workers"
STEP = "step of the lineage"


def panels(columns: int, width: float = 5.6, height: float = 3.8) -> tuple[Figure, list[Axes]]:
    """An empty figure with panels in a row."""
    figure = Figure(figsize=(width * columns, height), layout="constrained")
    return figure, [figure.add_subplot(1, columns, k + 1) for k in range(columns)]


def banded(axes: Axes, xs: Sequence[float], curves: Sequence[Sequence[float]], method: str, label: str | None = None) -> None:
    """The median of curves, with a band from the lowest to the highest."""
    rows = np.array(curves, dtype=float)
    colour = COLOURS[method]
    if len(rows) > 1:
        axes.fill_between(xs, rows.min(axis=0), rows.max(axis=0), color=colour, alpha=0.13, linewidth=0)
    axes.plot(xs, np.median(rows, axis=0), color=colour, label=label or f"{METHODS[method].title} ({len(rows)})")


def thousands(axes: Axes) -> None:
    """Steps as 4 k."""
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))


def zoomed(axes: Axes, losses: Sequence[float], head: float = 1.0) -> None:
    """The axis of losses: curves start at 5.5, and differ near 3."""
    low, high = min(losses), max(losses)
    axes.set_ylim(low - 0.15 * head * (high - low) - 0.02, high + head * (high - low) + 0.05)
