"""Fitness: the values that selection compares. Higher is fitter; None, no fitness, is worst."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from broodline.core.json_values import number
from broodline.core.trial import Measurement, Trial

Fitness = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A metric to maximise or minimise.

    Args:
        metric: Its name in the measurements.
        goal: "maximize" or "minimize".
        weight: Its factor in the weighted sum, above 0; None: compared by Pareto improvement.
        mean_of_last: k: average the last k measurements that have the metric.
    """

    metric: str
    goal: str = "maximize"
    weight: float | None = None
    mean_of_last: int = 1

    def contribution(self, value: float) -> float:
        """The contribution of a value to the fitness: weighted, and signed so that higher is fitter."""
        return value * (1.0 if self.weight is None else self.weight) * (-1 if self.goal == "minimize" else 1)

    def last(self, measurements: Sequence[Measurement]) -> Any:
        """The last value of the metric, finite or not; None if no measurement has it."""
        return next((m.metrics[self.metric] for m in reversed(measurements) if self.metric in m.metrics), None)

    def reports(self, measurement: Measurement) -> bool:
        """True if a measurement has a value for the metric, finite or not."""
        return measurement.metrics.get(self.metric) is not None

    def measures(self, measurement: Measurement) -> bool:
        """True if a measurement has a finite number for the metric."""
        return number(measurement.metrics.get(self.metric)) is not None

    def value(self, measurements: Sequence[Measurement]) -> float | None:
        """The value of the metric, or None if the last measurement that has it has no finite number for it."""
        if number(self.last(measurements)) is None:
            return None
        # Measurements without the metric, or with a value that is no number, do not count among the k.
        reported = (number(measurement.metrics.get(self.metric)) for measurement in reversed(measurements))
        last = [value for value, _ in zip((v for v in reported if v is not None), range(self.mean_of_last), strict=False)]
        # Each value is divided before the sum: a sum of large finite values could overflow.
        return sum(value / len(last) for value in last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One goal, or several of which either all or none have weights."""

    goals: tuple[Goal, ...]

    @property
    def weighted(self) -> bool:
        """True if several goals are summed to one value."""
        return len(self.goals) > 1 and all(goal.weight is not None for goal in self.goals)

    def recent(self, measurements: Sequence[Measurement], earlier: Iterable[Measurement]) -> list[Measurement]:
        """The measurements, after as many earlier ones as a fitness at any of them can depend on.

        Measurements that lack a metric do not count for its mean, so the number of those before is not known beforehand.

        Args:
            measurements: In the order in which they were made.
            earlier: Those before them, the latest first; read only as far back as necessary.
        """
        missing = {goal: goal.mean_of_last - any(map(goal.reports, measurements)) for goal in self.goals}
        found: list[Measurement] = []
        for measurement in earlier if any(missing.values()) else ():
            found.append(measurement)
            missing = {goal: max(0, count - goal.measures(measurement)) for goal, count in missing.items()}
            if not any(missing.values()):
                break
        return [*reversed(found), *measurements]

    def scored(self, measurement: Measurement) -> bool:
        """True for a measurement that has every metric of the objective, finite or not."""
        return all(goal.reports(measurement) for goal in self.goals)

    def recorded(self, measurements: Sequence[Measurement]) -> dict[str, Any]:
        """The metrics that a trial is recorded with: those of its last measurement, and the last value for each goal."""
        last_of_goals = {goal.metric: goal.last(measurements) for goal in self.goals}
        return {**last_of_goals, **measurements[-1].metrics}

    def fitness(self, measurements: Sequence[Measurement]) -> Fitness | None:
        """The fitness of a trial with these measurements: one value, or one per goal; None if it has none.

        Args:
            measurements: In the order in which they were made. For each goal the last one that has its metric counts.
        """
        values = [goal.value(measurements) for goal in self.goals]
        each = [goal.contribution(value) for goal, value in zip(self.goals, values, strict=True) if value is not None]
        if len(each) < len(self.goals):
            return None
        fitness = (sum(each),) if self.weighted else tuple(each)
        # Finite values can have an infinite weighted sum.
        return fitness if all(math.isfinite(value) for value in fitness) else None

    def problem(self, measurements: Sequence[Measurement]) -> str | None:
        """The reason why a trial with these measurements has no fitness; None if it has one."""
        if not measurements:
            return "no measurement: the program reported no metrics"
        metrics = measurements[-1].metrics
        for goal in self.goals:
            if all(goal.metric not in measurement.metrics for measurement in measurements):
                return f"no metric '{goal.metric}' in the last measurement (it has: {', '.join(metrics) or 'none'})"
            if number(value := goal.last(measurements)) is None:
                return f"metric '{goal.metric}' must be a finite number, got {value!r} in the last measurement"
        return None if self.fitness(measurements) else "the weighted sum of the metrics must be a finite number"

    def reached(self, fitness: Fitness, target: float) -> bool:
        """True if the fitness is at least as good as `target`, a value of the metric; for one goal only."""
        return len(self.goals) == 1 and fitness[0] >= self.goals[0].contribution(target)


def fitter(initiator: Fitness | None, opponent: Fitness | None, rng: Random) -> bool:
    """True if the opponent wins; a tie is the initiator's.

    With several values, a trial that is better in some and worse in none wins; otherwise a coin decides.

    Source: Li et al., A Generalized Framework for Population Based Training, KDD 2019 (Pareto improvement).
    """
    if opponent is None or initiator is None:
        return opponent is not None
    # Incomparable trials get a coin: a fixed winner would drive out one end of the front.
    better, worse = _compared(opponent, initiator)
    return rng.random() < 0.5 if better and worse else better


def fittest(trials: Iterable[Trial]) -> list[Trial]:
    """The trials that have a fitness, the fittest by the first goal first; the order of `Population.best`.

    Of equal fitness the most trained is first: its weights reached that fitness and kept it. Then the latest is.
    """
    fit = [(trial.fitness[0], trial) for trial in trials if trial.fitness is not None]
    return [trial for _, trial in sorted(fit, key=lambda pair: (-pair[0], -pair[1].end, -pair[1].number))]


def front(trials: Iterable[Trial]) -> list[Trial]:
    """The trials that no other improves on (the Pareto front), the best by the first goal first; ties as in `fittest`."""
    fit = [(trial.fitness, trial) for trial in trials if trial.fitness is not None]
    # In this order only an earlier trial can improve on a trial, and then some trial of the front so far does too.
    fit.sort(key=lambda pair: (tuple(-value for value in pair[0]), -pair[1].end, -pair[1].number))
    found: list[tuple[Fitness, Trial]] = []
    for fitness, trial in fit:
        if all(_compared(fitness, other) != (False, True) for other, _ in found):
            found.append((fitness, trial))
    return [trial for _, trial in found]


def _compared(one: Fitness, other: Fitness) -> tuple[bool, bool]:
    """Returns whether `one` is better in some value, and whether it is worse in some."""
    pairs = list(zip(one, other, strict=True))
    return any(a > b for a, b in pairs), any(a < b for a, b in pairs)
