"""The comparison of studies: the best metric so far as a function of its cost, and the best metric at equal cost.

There are two costs. The resource is the steps of all finished trials: compute. The step is the training step that the weights
of one trial have reached: training time of a single model.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from broodline.core.objective import Objective
from broodline.core.schedule import Schedule, schedule_of
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial
from broodline.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The best value so far, as a step function: a value holds from its point to the next.

    Args:
        points: Costs, ascending, each with the best value from there on; each value improves on the one before.
        end: The cost at which the curve ends.
    """

    points: tuple[tuple[int, float], ...]
    end: int

    def __call__(self, cost: int) -> float | None:
        """The value at a cost; None before the first point and after the end."""
        index = bisect_right(self.points, cost, key=lambda point: point[0])
        return self.points[index - 1][1] if index and cost <= self.end else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The range and the median of several curves.

    Args:
        points: Costs, ascending, each with the lowest value, the median and the highest from there on.
        end: The cost at which the shortest curve ends.
    """

    points: tuple[tuple[int, float, float, float], ...]
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A study in a comparison.

    Args:
        label: Its name in the comparison; repeats of one experiment share a label.
        study: Its definition.
        trials: How many of its trials have finished.
        by_resource: The best metric by resource.
        by_step: The best metric by step.
        best: Its best trial.
        schedule: The schedule of the best trial's lineage.
    """

    label: str
    study: StudyConfig
    trials: int
    by_resource: Curve
    by_step: Curve
    best: Trial
    schedule: Schedule

    @property
    def score(self) -> float:
        """Its best metric."""
        return self.by_resource.points[-1][1]


def contender(label: str, study: StudyConfig, trials: Iterable[Trial], lineage: Sequence[Trial]) -> Contender:
    """Prepares a study for a comparison.

    Args:
        label: Its name in the comparison.
        study: Its definition.
        trials: All of its trials.
        lineage: The lineage of its best trial, the best trial first.
    """
    # The resource of a trial is counted when it has finished, so the order of ends is the order of costs.
    ended = sorted((trial for trial in trials if trial.state.finished), key=lambda trial: (trial.finished or 0.0, trial.number))
    return Contender(
        label=label,
        study=study,
        trials=len(ended),
        by_resource=best_by_resource(study.objective, ended),
        by_step=best_by_step(study.objective, ended),
        best=lineage[0],
        schedule=schedule_of(lineage),
    )


def metric_of(objective: Objective) -> tuple[str, bool]:
    """The name of the compared value, and whether a lower value is better.

    The compared value is the metric. With several metrics it is their weighted sum, or the first one of a Pareto comparison.
    """
    if objective.weighted:
        return "fitness", False
    goal = objective.goals[0]
    return goal.metric, goal.goal == "minimize"


def score_of(objective: Objective, trial: Trial) -> float | None:
    """The compared value of a trial; None for a trial without fitness."""
    if trial.fitness is None:
        return None
    # The fitness of a minimised metric is its negative; the figure and the tables show the metric itself.
    return trial.fitness[0] if objective.weighted else trial.fitness[0] / objective.goals[0].contribution(1.0)


def best_by_resource(objective: Objective, ended: Iterable[Trial]) -> Curve:
    """The best metric so far by resource: the steps of all finished trials, failed ones included.

    Args:
        objective: The objective of the study.
        ended: The finished trials, in the order in which they finished.
    """
    resource, costs = 0, []
    for trial in ended:
        # A trial without fitness used the resource too: a study that fails often must not look cheaper.
        resource += trial.steps
        costs.append((resource, score_of(objective, trial)))
    return _best_so_far(costs, resource, _better(objective))


def best_by_step(objective: Objective, ended: Iterable[Trial]) -> Curve:
    """The best metric of the trials that end at or before a step."""
    costs = sorted((trial.end, score) for trial in ended if (score := score_of(objective, trial)) is not None)
    return _best_so_far(costs, costs[-1][0] if costs else 0, _better(objective))


def band(curves: Sequence[Curve]) -> Band:
    """The lowest value, the median and the highest of several curves, as far as the shortest of them."""
    end = min(curve.end for curve in curves)
    points = []
    for cost in sorted({cost for curve in curves for cost, _ in curve.points if cost <= end}):
        values = [value for curve in curves if (value := curve(cost)) is not None]
        # Before the first point of a curve it has no value, and a median of fewer curves would jump when it joins.
        if len(values) == len(curves):
            points.append((cost, min(values), median(values), max(values)))
    return Band(points=tuple(points), end=end)


def grouped(contenders: Iterable[Contender]) -> dict[str, tuple[Contender, ...]]:
    """The contenders of each label, in order."""
    groups: dict[str, tuple[Contender, ...]] = {}
    for each in contenders:
        groups[each.label] = (*groups.get(each.label, ()), each)
    return groups


def equal_costs(contenders: Sequence[Contender]) -> tuple[int, int]:
    """The largest resource that all studies have used, and the largest step that all studies have reached."""
    return min(each.by_resource.end for each in contenders), min(each.by_step.end for each in contenders)


def check_comparable(contenders: Sequence[Contender]) -> None:
    """Checks that all studies have one objective.

    Raises:
        UsageError: Two objectives differ.
    """
    first = contenders[0]
    for other in contenders[1:]:
        if _aim(other.study.objective) != _aim(first.study.objective):
            raise UsageError(
                f"study '{first.study.name}' has the objective {_aim(first.study.objective)}, study '{other.study.name}' has "
                f"{_aim(other.study.objective)}: only studies of one objective can be compared"
            )


def _aim(objective: Objective) -> str:
    weights = ("" if goal.weight is None else f" (weight {goal.weight:g})" for goal in objective.goals)
    return ", ".join(f"{goal.goal} {goal.metric}{weight}" for goal, weight in zip(objective.goals, weights, strict=True))


def _better(objective: Objective) -> Callable[[float, float], bool]:
    _, minimized = metric_of(objective)
    return (lambda one, other: one < other) if minimized else (lambda one, other: one > other)


def _best_so_far(costs: Iterable[tuple[int, float | None]], end: int, better: Callable[[float, float], bool]) -> Curve:
    points: dict[int, float] = {}
    best: float | None = None
    for cost, value in costs:
        if value is not None and (best is None or better(value, best)):
            points[cost] = best = value
    return Curve(points=tuple(points.items()), end=end)
