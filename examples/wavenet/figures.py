"""Draws the figures from the committed results, and updates the tables of the README.

python figures.py                 # figures/small/*.svg and README.md, from results/small
python figures.py --size quick    # figures/quick/*.svg
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, stdev

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import findings
from broodline.reports.figure_style import GREEN, ORANGE, PURPLE, SKY_BLUE, STYLE, VERMILION
from drawing import COLOURS, LOSS, RESOURCE, STEP, banded, panels, thousands, zoomed
from findings import Results, Run
from report import bring_up_to_date
from studies import CONTROLS, HERE, METHODS, SIZES, SPREAD, Size

SPANS = {  # of a trial, in the order in which they happen, bottom first
    "ask": ("ask", SKY_BLUE),
    "setup": ("set-up", GREEN),
    "warmup": ("warm-up", PURPLE),
    "train": ("training", "#dddddd"),
    "save": ("save", ORANGE),
    "complete": ("complete", VERMILION),
}


def figure_4(results: Results, size: Size) -> Figure:
    """Validation loss against resource."""
    figure, (axes, close) = panels(2)
    ends = []
    for method in METHODS:
        runs = results.of(method)
        if runs:
            steps = size.trial_steps * np.arange(1, size.resource + 1)
            for each in (axes, close):
                banded(each, steps, [run.best_so_far for run in runs], method)
            ends += [run.best_so_far[-1] for run in runs]
    for each in (axes, close):
        each.set(xlabel=RESOURCE, ylabel=LOSS)
        thousands(each)
    if ends:
        zoomed(close, ends, head=0.5)
    axes.set(title="Best validation loss so far (median and range of the repeats)")
    close.set(title="The same, closer")
    axes.legend()
    return figure


def figure_5(results: Results, size: Size) -> Figure:
    """The best checkpoints, continued by one worker."""
    figure, (axes,) = panels(1, width=6.6)
    before = {(run.method, run.repeat): min(run.loss) for run in results.runs}
    shown = []
    for method in METHODS:
        curves = []
        for run in results.further:
            if run.method == method:
                after = run.loss[-size.deep :]
                curves.append(np.minimum.accumulate([before[method, run.repeat], *after]))
        if curves:
            banded(axes, size.trial_steps * np.arange(size.deep + 1), curves, method)
            shown += [value for curve in curves for value in curve]
    axes.set(title="The best checkpoint trained on by one worker (best so far)", xlabel="further steps", ylabel=LOSS)
    thousands(axes)
    axes.legend()
    return figure


def figure_6(results: Results, size: Size) -> Figure:
    """Validation loss against the step: of the best lineage, and of the best trial at each step."""
    figure, (axes, close) = panels(2)
    early, ends = size.trial_steps * np.arange(1, size.shallow + 1), []
    for method in METHODS:
        runs = results.of(method)
        for place, run in enumerate(runs):
            steps = [run.end[k] for k in run.lineage]
            losses = [run.loss[k] for k in run.lineage]
            label = METHODS[method].title if place == 0 else None
            axes.plot(steps, losses, color=COLOURS[method], label=label, linewidth=1.2, alpha=0.85)
        if runs:
            curves = [[run.best_at(int(step)) or np.nan for step in early] for run in runs]
            banded(close, early, curves, method)
            ends += [curve[-1] for curve in curves]
    if ends:
        close.set_ylim(min(ends) - 0.1, min(ends) + 1.0)
    axes.axvline(size.shallow * size.trial_steps, color="#999999", linewidth=0.8, linestyle=":")
    axes.set(title="Loss along the best lineage, one line a repeat")
    close.set(title="The best of all trials at each step (median and range)")
    for each in (axes, close):
        each.set(xlabel=STEP, ylabel=LOSS)
        thousands(each)
    axes.legend()
    return figure


def rates(axes: Axes, runs: Sequence[Run], method: str) -> None:
    """The learning rates of best lineages."""
    for place, run in enumerate(runs):
        begins = [run.end[k] - run.trial_steps for k in run.lineage]
        lrs = [run.lr[k] for k in run.lineage]
        end = run.end[run.lineage[-1]]
        label = METHODS[method].title if place == 0 else None
        axes.step([*begins, end], [*lrs, lrs[-1]], where="post", color=COLOURS[method], label=label, linewidth=1.4, alpha=0.85)


def figure_7(results: Results, size: Size) -> Figure:
    """The learning rates of the best lineages, and their schedules replayed from scratch."""
    figure, (axes, again) = panels(2)
    for method in METHODS:
        rates(axes, results.of(method), method)
    axes.set(yscale="log", title="Learning rate of the best lineage, one line a repeat", xlabel=STEP, ylabel="learning rate")
    axes.legend()
    ends = []
    for place, run in enumerate([*results.of("grid"), *results.of("constants")]):
        for lr in sorted(set(run.lr)):
            points = sorted((end, loss) for end, loss, rate in zip(run.end, run.loss, run.lr, strict=True) if rate == lr)
            label = "constant rates" if place == 0 and lr == min(run.lr) else None
            again.plot(*zip(*points, strict=True), color=COLOURS["grid"], linewidth=0.9, alpha=0.45, label=label)
            ends.append(points[-1][1])
    for place, run in enumerate(run for run in results.replays if run.method == "pbt-5x5"):
        points = [(step, median(run.losses_at(step))) for step in sorted(set(run.end))]
        label = "PBT-5x5's schedules, replayed" if place == 0 else None
        again.plot(*zip(*points, strict=True), color=COLOURS["pbt-5x5"], linewidth=1.4, label=label)
        ends.append(points[-1][1])
    if ends:
        again.set_ylim(min(ends) - 0.1, min(ends) + 0.7)
    again.set(title="Loss at each step, from scratch", xlabel=STEP, ylabel=LOSS)
    again.legend()
    for each in (axes, again):
        thousands(each)
    return figure


def figure_8(results: Results, _size: Size) -> Figure:
    """The parts of a trial's time."""
    assert results.overhead is not None
    point = results.overhead["two_seconds"]
    figure, (axes,) = panels(1, width=7.2, height=2.9)
    spans = [(title, 1000 * point["spans"][name], colour) for name, (title, colour) in SPANS.items() if name != "train"]
    for place, (_title, milliseconds, colour) in enumerate(spans):
        axes.barh(place, milliseconds, color=colour)
        axes.text(milliseconds, place, f" {milliseconds:.1f} ms", va="center", fontsize=9)
    axes.set_yticks(range(len(spans)), [title for title, *_ in spans])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    axes.set(title=f"The other parts of a trial that trains {point['train_s']:.1f} s", xlabel="milliseconds a trial (median)")
    return figure


def figure_9(results: Results, _size: Size) -> Figure:
    """Time per step against steps per trial."""
    assert results.overhead is not None
    figure, (axes,) = panels(1, width=7.2)
    points = results.overhead["points"]
    places = range(len(points))
    floor = np.ones(len(points))
    for name, (title, colour) in SPANS.items():
        if name != "train":
            heights = np.array([point["spans"][name] / point["spans"]["train"] for point in points])
            axes.bar(places, heights, bottom=floor, color=colour, label=title, width=0.7)
            floor += heights
    for place, (point, top) in enumerate(zip(points, floor, strict=True)):
        axes.text(place, top, f"{point['ratio']:.3f}", ha="center", va="bottom", fontsize=9)
    axes.axhline(1.05, color="#666666", linewidth=1, linestyle="--")
    axes.set_xticks(places, [f"{point['steps']} steps\n{point['train_s']:.2g} s" for point in points])
    axes.grid(axis="x", visible=False)
    axes.set_ylim(1, None)
    axes.margins(y=0.12)
    axes.set(
        title="Time per step, in relation to that of training alone (medians)",
        xlabel="steps a trial, and the time that they train",
    )
    axes.legend()
    return figure


def figure_10(results: Results, size: Size) -> Figure:
    """The spread over repeated runs."""
    figure, (axes, spread) = panels(2)
    titles = METHODS | CONTROLS
    half = size.resource // 2
    for method in SPREAD:
        runs = results.of(method, half)
        steps = size.trial_steps * np.arange(1, half + 1)
        for place, run in enumerate(runs):
            label = f"{titles[method].title} ({len(runs)} repeats)" if place == 0 else None
            axes.plot(steps, run.best_so_far, color=COLOURS[method], linewidth=0.9, alpha=0.8, label=label)
        if len(runs) > 1:
            spreads = [stdev(column) for column in zip(*(run.best_so_far for run in runs), strict=True)]
            spread.plot(steps, spreads, color=COLOURS[method], label=titles[method].title)
    axes.set(title="Best validation loss so far, one line a repeat", xlabel=RESOURCE, ylabel=LOSS)
    spread.set(title="Standard deviation over the repeats", xlabel=RESOURCE, ylabel="nats a sample", ylim=(0, None))
    for each in (axes, spread):
        thousands(each)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(SPREAD))
    return figure


FIGURES: dict[str, tuple[Callable[[Results, Size], Figure], Callable[[Results], object]]] = {
    "figure-4": (figure_4, lambda results: results.runs),
    "figure-5": (figure_5, lambda results: results.further),
    "figure-6": (figure_6, lambda results: results.runs),
    "figure-7": (figure_7, lambda results: results.runs),
    "figure-8": (figure_8, lambda results: results.overhead),
    "figure-9": (figure_9, lambda results: results.overhead),
    "figure-10": (figure_10, lambda results: results.runs),
}


def draw(results: Results, size: Size, folder: Path, suffix: str = ".svg") -> list[Path]:
    """Draws every figure that has results, and returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with mpl.rc_context({**STYLE, "legend.frameon": False}):
        for name, (figure_of, needed) in FIGURES.items():
            if needed(results):
                path = folder / f"{name}{suffix}"
                metadata = {"Date": None} if suffix == ".svg" else {}
                figure_of(results, size).savefig(path, dpi=110, facecolor="white", metadata=metadata)
                drawn.append(path)
    return drawn


def main() -> None:
    """Draws the figures, and prints which claims hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--suffix", choices=[".svg", ".png"], default=".svg")
    options = parser.parse_args()
    size, results = SIZES[options.size], findings.load(HERE / "results" / options.size)
    for path in draw(results, size, HERE / "figures" / options.size, options.suffix):
        print(path)
    for claim in findings.claims(results, tuple(METHODS), size.shallow):
        print(f"Figure {claim.figure}: {claim.sentence}: {claim.verdict} ({claim.here})")
    if options.size == "small":
        bring_up_to_date(HERE / "README.md", results, size)


if __name__ == "__main__":
    main()
