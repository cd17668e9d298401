"""Early stopping: when a trial can't matter any more, judged by how other trials stood at the same step.

Steps count from the beginning of the lineage, so trials of different members and generations can be compared at a step. Programs
report when they like: what counts of another trial is its last score at or before the step, if it has got as far.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from broodline.core.objective import Objective
from broodline.core.study import Stopping
from broodline.core.trial import Measurement, PeerScore, Score, Trial, TrialState


def scores(objective: Objective, measurements: Sequence[Measurement], *, after: int) -> list[Score]:
    """The score that a trial had at each of its measurements: what its fitness would be, had it ended there.

    A measurement without a value for each metric of the objective has none. A value that is not finite makes it minus infinity.

    Args:
        objective: One metric, or a weighted sum.
        measurements: All that the trial reported, as far back as the objective looks.
        after: How many of them, from the first on, are not asked about.
    """
    found = []
    for index, measurement in enumerate(measurements[after:], start=after + 1):
        if all(measurement.metrics.get(goal.metric) is not None for goal in objective.goals):
            recent = [measurement] if objective.measurements_needed == 1 else measurements[:index]
            fitness = objective.fitness(recent)
            found.append(Score(step=measurement.step, value=-math.inf if fitness is None else fitness[0]))
    return found


def reason_to_stop(rule: Stopping, trial: Trial, own: Score, peer_scores: Iterable[PeerScore]) -> str | None:
    """Why a trial is to be stopped at a step, or None if it is to go on.

    It is stopped where its score is below the median of the others' at the same step by more than a margin. A tie goes on, and so
    does a trial that has trained nothing yet, or all of its steps. Failed trials don't count.

    Args:
        rule: The rule.
        trial: The trial.
        own: Its score at its last measurement.
        rivals: How trials stood at that step; this one may be among them.

    Source: Golovin et al., Google Vizier, KDD 2017, section 3.2.2 (the median stopping rule, there of running means); compared
        here by the value at the step, because a child begins with the weights, and the score, of its parent.
    """
    if not trial.start < own.step < trial.end or own.step < rule.burn_in:
        return None
    others = [rival.score for rival in peer_scores if rival.trial != trial.number and _counts(rival, own.step)]
    values = [value for value in others if value is not None]
    if len(values) < rule.min_trials:
        return None
    middle = 2 * median(value / 2 for value in values)  # halves, for the sum of two of the largest floats is none
    if own.value >= middle - rule.margin:
        return None
    by = f", by more than {rule.margin:g}" if rule.margin else ""
    return f"at step {own.step} its fitness, {own.value:.6g}, is below {middle:.6g}{by}, the median of {len(values)} others"


def _counts(rival: PeerScore, step: int) -> bool:
    """Whether a trial has been measured up to a step, and is fit to be compared with."""
    return rival.state is not TrialState.FAILED and rival.measured is not None and rival.measured >= step
