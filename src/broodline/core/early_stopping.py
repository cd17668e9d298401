"""Early stopping: a running trial is compared with the scores of other trials at the same step.

Steps count from the start of the lineage, so trials of different members and generations are comparable at a step. Programs
report at steps of their own choice: of another trial the last score at or before the step counts, if it has reached that step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from broodline.core.objective import Objective
from broodline.core.study import Stopping
from broodline.core.trial import Measurement, PeerScore, Score, Trial, TrialState


def scores(objective: Objective, measurements: Sequence[Measurement], *, after: int) -> list[Score]:
    """The score of a trial at each of its measurements: the fitness that it would have, had it ended there.

    A measurement that lacks a metric of the objective has no score. A value that is not finite makes the score minus infinity.

    Args:
        objective: One metric, or a weighted sum.
        measurements: The measurements of the trial, as far back as the objective needs.
        after: How many of them, from the first on, to skip.
    """
    found = []
    for index, measurement in enumerate(measurements[after:], start=after):
        if objective.scored(measurement):
            earlier = (measurements[before] for before in range(index - 1, -1, -1))
            fitness = objective.fitness(objective.recent([measurement], earlier))
            found.append(Score(step=measurement.step, value=-math.inf if fitness is None else fitness[0]))
    return found


def is_compared(rule: Stopping, trial: Trial, step: int) -> bool:
    """True if a trial can be stopped at a step: not before its first, after its last, or during the burn-in."""
    return trial.start < step < trial.end and step >= rule.burn_in


def middle_of(trial: Trial, step: int, peer_scores: Iterable[PeerScore]) -> tuple[int, tuple[float, ...]]:
    """How many other trials count at a step, and the one or two scores in the middle of theirs."""
    others = [peer.score for peer in peer_scores if peer.trial != trial.number and _counts(peer, step)]
    values = sorted(value for value in others if value is not None)
    first = max(0, len(values) - 1) // 2
    return len(values), tuple(values[first : len(values) // 2 + 1])


def reason_to_stop(rule: Stopping, trial: Trial, own: Score, peers: int, middle: Sequence[float]) -> str | None:
    """The reason to stop a trial at a step, or None to continue.

    A trial is stopped if its score is below the median of the other scores at the same step by more than the margin. A tie
    continues, and so does a trial that has trained no step yet, or all of its steps. Failed trials are ignored.

    Args:
        rule: The rule.
        trial: The trial.
        own: Its score at its last measurement.
        peers: How many other trials have a score at that step.
        middle: The one or two scores in the middle of theirs.

    Source: Golovin et al., Google Vizier, KDD 2017, section 3.2.2 (the median stopping rule, there of running means). Here the
        value at the step is compared, because a child starts with the weights, and the score, of its parent.
    """
    if not is_compared(rule, trial, own.step) or not middle or peers < rule.min_trials:
        return None
    typical = 2 * median(value / 2 for value in middle)  # halves, because the sum of two very large floats overflows
    if own.value >= typical - rule.margin:
        return None
    by = f", by more than {rule.margin:g}" if rule.margin else ""
    return f"at step {own.step} its fitness, {own.value:.6g}, is below {typical:.6g}{by}, the median of {peers} others"


def _counts(peer: PeerScore, step: int) -> bool:
    """True for a trial that has been measured up to a step and did not fail."""
    return peer.state is not TrialState.FAILED and peer.measured is not None and peer.measured >= step
