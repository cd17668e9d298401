"""Early stopping: below the median of the others at the same step, by a margin, after a burn-in."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broodline.core import early_stopping
from broodline.core.early_stopping import middle_of, scores
from broodline.core.objective import Goal, Objective
from broodline.core.study import Stopping
from broodline.core.trial import Measurement, PeerScore, Score, Trial, TrialState

WORST = -math.inf
TRIAL = Trial(number=9, member=0, generation=1, params={}, start=10, steps=10)
RULE = Stopping(min_trials=1)


def reason_to_stop(rule: Stopping, trial: Trial, own: Score, peer_scores: list[PeerScore]) -> str | None:
    return early_stopping.reason_to_stop(rule, trial, own, *middle_of(trial, own.step, peer_scores))


finite = st.floats(allow_nan=False, allow_infinity=False)


def rival(score: float | None, number: int = 0, measured: int | None = 15, state: TrialState = TrialState.COMPLETED) -> PeerScore:
    return PeerScore(trial=number, state=state, score=score, measured=measured)


def stops(own: float, others: list[float], rule: Stopping = RULE, step: int = 15) -> bool:
    peer_scores = [rival(score, number) for number, score in enumerate(others)]
    return reason_to_stop(rule, TRIAL, Score(step=step, value=own), peer_scores) is not None


@pytest.mark.parametrize(
    ("own", "others", "stopped"),
    [
        (0.4, [0.1, 0.5, 0.9], True),
        (0.6, [0.1, 0.5, 0.9], False),
        (0.5, [0.1, 0.5, 0.9], False),  # a tie
        (0.4, [0.3, 0.5], False),  # the median of an even number is the mean of the two in the middle
        (0.39, [0.3, 0.5], True),
        (-5.0, [-1.0, -4.0, -9.0], True),  # negative scores
        (-3.0, [-1.0, -4.0, -9.0], False),
        (1.7e308, [1.6e308, 1.7e308, 1.7e308, 1.7e308], False),
    ],
)
def test_a_trial_below_the_median_is_stopped_and_a_tie_goes_on(own: float, others: list[float], stopped: bool) -> None:
    assert stops(own, others) is stopped


@pytest.mark.parametrize(("own", "stopped"), [(0.31, False), (0.3, False), (0.29, True)])
def test_the_margin_is_how_far_below(own: float, stopped: bool) -> None:
    assert stops(own, [0.5], Stopping(margin=0.2, min_trials=1)) is stopped


@given(own=st.integers(-50, 50), others=st.lists(st.integers(-50, 50), min_size=1), offset=st.integers(-1000, 1000))
def test_the_margin_is_absolute_so_the_sign_and_the_offset_of_the_scores_do_not_matter(
    own: int, others: list[int], offset: int
) -> None:
    rule = Stopping(margin=7, min_trials=1)
    assert stops(own, [*map(float, others)], rule) == stops(own + offset, [float(each + offset) for each in others], rule)


@given(own=finite, higher=finite, others=st.lists(finite, min_size=1, max_size=9))
def test_the_fittest_goes_on_and_so_does_whoever_is_fitter_than_one_that_does(
    own: float, higher: float, others: list[float]
) -> None:
    assert not stops(max(others), others)
    assert stops(min(own, higher), others) >= stops(max(own, higher), others)


def test_a_value_that_is_not_finite_is_below_every_finite_median_and_no_better_than_its_like() -> None:
    assert stops(WORST, [-1e300, -1e300, 0.0])
    assert not stops(WORST, [WORST, WORST, 0.0])
    assert not stops(-1e300, [WORST, WORST, 0.0])


@pytest.mark.parametrize(("step", "stopped"), [(11, False), (13, False), (14, True), (19, True)])
def test_nothing_is_stopped_before_the_burn_in_is_over(step: int, stopped: bool) -> None:
    peer_scores = [rival(1.0, measured=20)]
    told = reason_to_stop(Stopping(burn_in=14, min_trials=1), TRIAL, Score(step=step, value=0.0), peer_scores)
    assert (told is not None) is stopped


@pytest.mark.parametrize("step", [10, 20, 25])
def test_a_trial_that_has_trained_nothing_yet_or_all_of_its_steps_goes_on(step: int) -> None:
    assert reason_to_stop(RULE, TRIAL, Score(step=step, value=0.0), [rival(1.0, measured=30)]) is None


@pytest.mark.parametrize(("others", "stopped"), [(3, False), (4, True)])
def test_so_many_others_must_have_been_measured_at_the_step(others: int, stopped: bool) -> None:
    assert stops(0.0, [1.0] * others, Stopping(min_trials=4)) is stopped


def test_neither_itself_nor_a_failed_trial_nor_one_that_has_not_got_as_far_is_compared_with() -> None:
    own, rule = Score(step=15, value=0.5), Stopping(min_trials=2)
    others = [
        rival(1.0, number=TRIAL.number),
        rival(1.0, 1, state=TrialState.FAILED),
        rival(1.0, 2, measured=14, state=TrialState.RUNNING),
        rival(None, 3, measured=17),
        rival(None, 4, measured=None),
        rival(1.0, 5),
    ]
    assert reason_to_stop(rule, TRIAL, own, others) is None
    for state in (TrialState.COMPLETED, TrialState.STOPPED, TrialState.RUNNING, TrialState.PENDING):
        assert reason_to_stop(rule, TRIAL, own, [*others, rival(0.9, 6, measured=16, state=state)]) is not None


def test_the_reason_tells_the_step_the_value_and_the_median() -> None:
    rule = Stopping(margin=0.1, min_trials=1)
    told = reason_to_stop(rule, TRIAL, Score(step=15, value=0.25), [rival(0.5), rival(0.75, 1)])
    assert told == ("at step 15 its fitness, 0.25, is below 0.625, by more than 0.1, the median of 2 others")


def measured(*values: Any) -> list[Measurement]:
    return [
        Measurement(step=step, metrics=value if isinstance(value, dict) else {"x": value}) for step, value in enumerate(values)
    ]


def objective(goal: str = "maximize", mean_of_last: int = 1) -> Objective:
    return Objective(goals=(Goal(metric="x", goal=goal, mean_of_last=mean_of_last),))


def values(objective_: Objective, *told: Any, after: int = 0) -> list[tuple[int, float]]:
    return [(score.step, score.value) for score in scores(objective_, measured(*told), after=after)]


def test_a_score_is_the_fitness_so_a_minimised_metric_scores_its_negative() -> None:
    assert values(objective(), 1.0, 2.0) == [(0, 1.0), (1, 2.0)]
    assert values(objective("minimize"), 1.0, 2.0) == [(0, -1.0), (1, -2.0)]


def test_a_measurement_without_the_metric_has_no_score_and_one_that_is_not_finite_the_worst() -> None:
    told = [{"loss": 1.0}, None, math.nan, -math.inf, math.inf, "high", 3.0]
    assert values(objective(), *told) == [(2, WORST), (3, WORST), (4, WORST), (5, WORST), (6, 3.0)]


def test_a_score_may_be_a_mean_of_what_was_reported_before() -> None:
    assert values(objective(mean_of_last=2), 1.0, 3.0, {"loss": 1.0}, 5.0, after=2) == [(3, 4.0)]


def test_a_weighted_sum_is_one_score_and_needs_all_of_its_metrics() -> None:
    goals = (Goal(metric="x", weight=2.0), Goal(metric="y", goal="minimize", weight=1.0))
    assert values(Objective(goals=goals), {"x": 1.0}, {"x": 1.0, "y": 0.5}) == [(1, 1.5)]
