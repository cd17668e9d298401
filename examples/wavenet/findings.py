"""The findings in the results: curves, lineages, and each claim of the paper with the number that decides it. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median, stdev
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Run:
    """One study: its completed trials, in the order in which they completed.

    Args:
        method: Who decided the learning rate.
        repeat: Which of its repeats.
        number, parent, end, lr, loss: Of each trial; `end` is the step that it reached.
        trial_steps: Steps a trial.
    """

    method: str
    repeat: int
    number: list[int]
    parent: list[int | None]
    end: list[int]
    lr: list[float]
    loss: list[float]
    trial_steps: int

    @classmethod
    def read(cls, results: dict[str, Any]) -> Run:
        """From a file of results."""
        columns = {name: results[name] for name in ("method", "repeat", "number", "parent", "lr", "loss")}
        end = [start + steps for start, steps in zip(results["start"], results["steps"], strict=True)]
        return cls(**columns, end=end, trial_steps=results["steps"][0])

    @cached_property
    def best_so_far(self) -> np.ndarray:
        """(trials,) the lowest loss of the trials completed by then: Figure 4."""
        return np.minimum.accumulate(self.loss)

    @property
    def drawn(self) -> list[float]:
        """The initial rates of its lineages."""
        return [lr for lr, parent in zip(self.lr, self.parent, strict=True) if parent is None]

    def until(self, trials: int) -> Run:
        """The run after that many completed trials."""
        columns = {name: getattr(self, name)[:trials] for name in ("number", "parent", "end", "lr", "loss")}
        return Run(method=self.method, repeat=self.repeat, trial_steps=self.trial_steps, **columns)

    @cached_property
    def lineage(self) -> list[int]:
        """The places of the best trial and its ancestors, the first ancestor first: Figures 6 and 7."""
        place = {number: k for k, number in enumerate(self.number)}
        found, here = [], int(np.argmin(self.loss))
        while True:
            found.append(here)
            parent = self.parent[here]
            if parent is None:
                return found[::-1]
            here = place[parent]

    def loss_at(self, step: int) -> float | None:
        """The best lineage's loss at a step; None if it is shorter."""
        return next((self.loss[k] for k in self.lineage if self.end[k] == step), None)

    def losses_at(self, step: int) -> list[float]:
        """The losses of all trials that reached exactly this step: of each copy of a replay, of each constant rate."""
        return [loss for loss, end in zip(self.loss, self.end, strict=True) if end == step]

    def best_at(self, step: int) -> float | None:
        """The lowest loss of all trials that reached exactly this step; None if none did."""
        return min(self.losses_at(step), default=None)


@dataclass(frozen=True, kw_only=True)
class Results:
    """The results of one size.

    Args:
        runs: The studies of the comparison.
        replays: Their best lineages, trained again.
        further: Their best checkpoints, trained on.
        test: The loss of their best checkpoints on each recording of the test split; under `samples` its length.
        overhead: What `overhead.py` measured.
    """

    runs: list[Run]
    replays: list[Run]
    further: list[Run]
    test: dict[str, list[float]]
    overhead: dict[str, Any] | None

    def of(self, method: str, trials: int | None = None) -> list[Run]:
        """The repeats of a method with at least that many trials; by default the full resource."""
        least = trials or max((len(run.loss) for run in self.runs), default=0)
        return [run.until(least) for run in self.runs if run.method == method and len(run.loss) >= least]

    def tested(self, method: str) -> list[float]:
        """The loss on the test split of each repeat, every sample counted alike."""
        names = [name for name in self.test if name.rpartition("-")[0] == method]
        return [float(np.average(self.test[name], weights=self.test["samples"])) for name in names]

    def advantage(self, method: str, other: str) -> tuple[float, float] | None:
        """By how much a method's test loss is lower than another's, and the standard error over the recordings, paired.

        The repeats are averaged first, so the error tells how sure the difference is for these checkpoints, not for others.
        """
        ours, theirs = ([self.test[name] for name in self.test if name.rpartition("-")[0] == one] for one in (method, other))
        if not ours or not theirs:
            return None
        shares = np.array(self.test["samples"]) / np.sum(self.test["samples"])
        lower = np.mean(theirs, axis=0) - np.mean(ours, axis=0)
        mean = float(shares @ lower)
        count = len(shares)
        return mean, float(np.sqrt(np.sum((shares * (lower - mean)) ** 2) * count / (count - 1)))


def load(folder: Path) -> Results:
    """Reads the results of one size."""
    found: dict[str, list[Run]] = {"": [], "replays": [], "continued": []}
    for part, runs in found.items():
        for path in sorted((folder / part).glob("*-[0-9]*.json")):
            runs.append(Run.read(json.loads(path.read_text(encoding="utf-8"))))
    test, overhead = folder / "test.json", folder / "overhead.json"
    return Results(
        runs=found[""],
        replays=found["replays"],
        further=found["continued"],
        test=json.loads(test.read_text(encoding="utf-8")) if test.exists() else {},
        overhead=json.loads(overhead.read_text(encoding="utf-8")) if overhead.exists() else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim of the paper, and the result here.

    Args:
        sentence: What is claimed.
        figure: Which figure decides it.
        paper: What the paper reported.
        here: What came out.
        holds: Whether it agrees; None if there are no results yet.
    """

    sentence: str
    figure: str
    paper: str
    here: str
    holds: bool | None

    @property
    def verdict(self) -> str:
        """In a word."""
        return {True: "holds", False: "does not hold", None: "not run yet"}[self.holds]


def claims(results: Results, methods: Sequence[str], shallow: int) -> list[Claim]:
    """Every claim, judged."""
    return [
        lowest_at_the_full_resource(results, methods),
        stays_ahead_trained_on(results, methods),
        large_population_ahead(results, shallow, lineage=True),
        large_population_ahead(results, shallow, lineage=False),
        varies_less(results, "pbt-5x5", than="random", described="with 20 short lineages"),
        varies_less(results, "pbt-5x5", than="random-deep", described="with 5 lineages as deep as its own"),
        varies_less(results, "pbt-5x20", than="random", described="with 20 short lineages"),
        replay_beats_constants(results),
        chunking_is_cheap(results),
    ]


def finals(results: Results, methods: Iterable[str]) -> dict[str, list[float]]:
    """The best loss at the full resource of each method, one value per repeat; methods without a finished repeat are left out."""
    found = {method: [min(run.loss) for run in results.of(method)] for method in methods}
    return {method: losses for method, losses in found.items() if losses}


def lowest_at_the_full_resource(results: Results, methods: Sequence[str]) -> Claim:
    """Figure 4."""
    middle = {method: median(losses) for method, losses in finals(results, methods).items()}
    return Claim(
        sentence="At the full resource PBT-5x5 has the lowest validation loss",
        figure="4",
        paper="PBT-5x5 5.61, grid 5.66, PBT-5x20 5.71, GP-bandit 5.74, CMA-ES 5.77",
        here=ranked(middle),
        holds=None if set(middle) != set(methods) else min(middle, key=lambda method: middle[method]) == "pbt-5x5",
    )


def large_population_ahead(results: Results, shallow: int, *, lineage: bool) -> Claim:
    """Figure 6: by the best lineage, as the paper has it, or by the best of all trials at that step, which is less noisy."""
    found: dict[str, list[float]] = {}
    for method in ("pbt-5x20", "pbt-5x5"):
        runs = results.of(method)
        losses = [run.loss_at(shallow * run.trial_steps) if lineage else run.best_at(shallow * run.trial_steps) for run in runs]
        found[method] = [loss for loss in losses if loss is not None]
    large, small = found.values()
    here = f"{median(large):.3f} against {median(small):.3f}, {shallow} trials deep" if large and small else ""
    return Claim(
        sentence="At the same step PBT-5x20 is ahead of PBT-5x5: "
        + ("the best lineage's loss" if lineage else "the best of all trials at that step"),
        figure="6",
        paper="5.705 against 5.755 at step 10,000" if lineage else "",
        here=here,
        holds=median(large) < median(small) if large and small else None,
    )


def stays_ahead_trained_on(results: Results, methods: Sequence[str]) -> Claim:
    """Figure 5."""
    found = {method: [min(run.loss) for run in results.further if run.method == method] for method in methods}
    middle = {method: median(losses) for method, losses in found.items() if losses}
    return Claim(
        sentence="Trained on by one worker, the best checkpoint of PBT-5x5 is still the best",
        figure="5",
        paper="PBT-5x5 5.54, PBT-5x20 5.56, GP-bandit 5.57, grid 5.58, CMA-ES 5.58",
        here=ranked(middle),
        holds=None if set(middle) != set(methods) else min(middle, key=lambda method: middle[method]) == "pbt-5x5",
    )


def ranked(losses: dict[str, float]) -> str:
    """The losses of methods, the lowest first."""
    return ", ".join(f"{method} {loss:.3f}" for method, loss in sorted(losses.items(), key=lambda item: item[1]))


def varies_less(results: Results, method: str, *, than: str, described: str) -> Claim:
    """Figure 10: at half of the resource, which all repeats have, and at the full one, for those that have it."""
    most = max((len(run.loss) for run in results.runs), default=0)
    half, full = (spreads(results, (method, than), trials) for trials in (most // 2, most))
    told = [
        f"{where} {ours:.3f} against {theirs:.3f} ({count} and {others} repeats)"
        for where, found in (("at half of the resource", half), ("at the full resource", full))
        if len(found) == 2
        for (ours, count), (theirs, others) in [found]
    ]
    if told and method == "pbt-5x5":
        told.append(well_begun(results, most // 2) if than == "random" else lower_from_the_same_start(results, than, most // 2))
    return Claim(
        sentence=f"The result of {method.replace('pbt', 'PBT')} varies less over repeats than that of random search {described}",
        figure="10",
        paper="less variance than random search (no numbers are known)",
        here="standard deviation " + "; ".join(told) if told else "",
        holds=half[0][0] < half[1][0] if len(half) == 2 else None,
    )


def well_begun(results: Results, trials: int) -> str:
    """The spread of PBT-5x5 over the repeats with an initial rate within a factor of two of the grid's best."""
    points = [(loss, lr) for run in results.of("grid") for loss, lr in zip(run.loss, run.lr, strict=True)]
    _, rate = min(points, default=(0.0, 0.0))
    begun = [run for run in results.of("pbt-5x5", trials) if any(rate / 2 <= lr <= 2 * rate for lr in run.drawn)]
    losses = [min(run.loss) for run in begun]
    spread = f" {stdev(losses):.3f}" if len(losses) > 1 else ""
    return f"PBT-5x5's {len(losses)} repeats that drew a rate within a factor of two of {rate:.2g} to begin with:{spread}"


def lower_from_the_same_start(results: Results, than: str, trials: int) -> str:
    """The number of repeats in which evolution ends lower than the same initial rates without it."""
    ours, theirs = ({run.repeat: run for run in results.of(method, trials)} for method in ("pbt-5x5", than))
    pairs = [(run, theirs[k]) for k, run in ours.items() if k in theirs and sorted(run.drawn) == sorted(theirs[k].drawn)]
    lower = sum(min(run.loss) < min(other.loss) for run, other in pairs)
    return f"PBT-5x5 is lower in {lower} of {len(pairs)} repeats that began with the same rates"


def spreads(results: Results, methods: Iterable[str], trials: int) -> list[tuple[float, int]]:
    """Of each method the standard deviation of the best loss after so many trials, and over how many repeats."""
    losses = [[min(run.loss) for run in results.of(method, trials)] for method in methods]
    return [(stdev(found), len(found)) for found in losses if len(found) > 1]


def replay_beats_constants(results: Results) -> Claim:
    """Figure 7: each schedule of PBT-5x5, replayed, against every run at a constant rate, at the step where the schedule ends.

    What counts is the median of a schedule's copies, and the lowest of all runs at constant rates: these are given the luck.
    """
    told, beaten, better = [], [], []
    constants = [*results.of("grid"), *results.of("constants")]
    for run in results.replays:
        step = max(run.end)
        rivals = [loss for constant in constants for loss in constant.losses_at(step)]
        if run.method == "pbt-5x5" and rivals:
            copies = run.losses_at(step)
            told.append(f"{median(copies):.3f} against {min(rivals):.3f} of the best of {len(rivals)} at step {step:,}")
            beaten.append(median(copies) < min(rivals))
            better += [loss < min(rivals) for loss in copies]
    counted = f" ({sum(better)} of all {len(better)} replays are better)" if len(better) > len(told) else ""
    return Claim(
        sentence="The learned schedule, replayed from scratch, beats every constant rate that was tried, at equal steps",
        figure="7",
        paper="schedules are shown; of replay no numbers are known",
        here="; ".join(told) + counted,
        holds=all(beaten) if beaten else None,
    )


def chunking_is_cheap(results: Results) -> Claim:
    """Figures 8 and 9."""
    here, holds = "", None
    if results.overhead:
        at = results.overhead["two_seconds"]
        here = f"{at['ratio']:.3f} with trials of {at['train_s']:.1f} s ({at['steps']} steps)"
        holds = at["ratio"] <= 1.05
    return Claim(
        sentence="With trials of 2 s of training a step takes at most 1.05 times that of uninterrupted training",
        figure="9",
        paper="1.26 with trials of 1,000 steps, 1.55 with 500 (against 10,000)",
        here=here,
        holds=holds,
    )
