"""The life of a trial: every legal move, and that every other one raises and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

import pytest

from broodline.core import lifecycle
from broodline.core.lifecycle import LEGAL, Move
from broodline.core.trial import Trial, TrialState
from broodline.errors import IllegalTransition, LeaseLost

NOW = 1000.0


def trial_in(state: TrialState, **fields: object) -> Trial:
    leased = {"attempt": 2, "worker": "0", "session": "a", "lease_until": NOW + 5}
    trial = Trial(number=7, member=1, generation=0, params={"lr": 0.1}, steps=10, state=state)
    return trial.evolve(**(leased | fields))


def complete(trial: Trial, attempt: int = 2) -> Trial:
    return lifecycle.complete(
        trial, attempt=attempt, now=NOW, steps=10, metrics={"score": 1.0}, fitness=(1.0,), checkpoint="checkpoints/000007.2"
    )


def fail(trial: Trial, *, attempt: int = 2, retries: int = 0) -> Trial:
    return lifecycle.fail(trial, attempt=attempt, now=NOW, reason="exit status 3", output="boom", retries=retries)


MOVES: Mapping[Move, Callable[[Trial], Trial]] = {
    Move.LEASE: lambda trial: lifecycle.lease(trial, worker="1", session="b", now=NOW, seconds=30),
    Move.RENEW: lambda trial: lifecycle.renew(trial, now=NOW, seconds=30),
    Move.RELEASE: lifecycle.release,
    Move.LOSE: lambda trial: lifecycle.lose(trial, now=NOW, max_lost=3),
    Move.COMPLETE: complete,
    Move.FAIL: fail,
    Move.RETRY: lambda trial: fail(trial, retries=1),
    Move.STOP: lambda trial: lifecycle.stop(trial, attempt=2, now=NOW, steps=5, reason="stopped early", metrics=None),
}
TOLD_TWICE = {(TrialState.COMPLETED, Move.COMPLETE), (TrialState.FAILED, Move.FAIL), (TrialState.STOPPED, Move.STOP)}


@pytest.mark.parametrize(("state", "move"), sorted(LEGAL))
def test_a_legal_move_is_made(state: TrialState, move: Move) -> None:
    assert MOVES[move](trial_in(state)).state in LEGAL[state, move]


@pytest.mark.parametrize(("state", "move"), sorted(set(product(TrialState, Move)) - set(LEGAL) - TOLD_TWICE))
def test_any_other_move_raises_and_changes_nothing(state: TrialState, move: Move) -> None:
    trial = trial_in(state)
    if (state, move) == (TrialState.FAILED, Move.RETRY):
        assert MOVES[move](trial) is trial  # a failure told twice
        return
    with pytest.raises((IllegalTransition, LeaseLost)):
        MOVES[move](trial)
    assert trial == trial_in(state)


@pytest.mark.parametrize(("state", "move"), sorted(TOLD_TWICE))
def test_what_is_told_twice_stays_as_it_is(state: TrialState, move: Move) -> None:
    trial = trial_in(state, reason="said before")
    assert MOVES[move](trial) is trial


@pytest.mark.parametrize("move", [complete, fail])
@pytest.mark.parametrize("attempt", [1, 3])
def test_an_attempt_that_is_not_the_last_is_refused(move: Callable[..., Trial], attempt: int) -> None:
    with pytest.raises(LeaseLost, match=r"trial 7.*superseded"):
        move(trial_in(TrialState.RUNNING), attempt=attempt)


def test_every_lease_is_another_attempt() -> None:
    leased = MOVES[Move.LEASE](trial_in(TrialState.PENDING))
    assert (leased.attempt, leased.worker, leased.session, leased.lease_until) == (3, "1", "b", NOW + 30)


def test_a_lease_includes_its_last_moment() -> None:
    trial = lifecycle.lease(trial_in(TrialState.PENDING), worker="a", session="s", now=5.0, seconds=10.0)
    assert [trial.is_leased(now) for now in (5.0, 15.0, 15.1)] == [True, True, False]
    assert not lifecycle.release(trial).is_leased(5.0)


def test_a_goodbye_is_not_a_loss() -> None:
    assert MOVES[Move.RELEASE](trial_in(TrialState.RUNNING)).lost == 0


def test_a_trial_that_loses_its_worker_too_often_has_failed() -> None:
    once, twice, thrice = (MOVES[Move.LOSE](trial_in(TrialState.RUNNING, lost=lost)) for lost in range(3))
    assert (once.state, twice.state) == (TrialState.PENDING, TrialState.PENDING)
    assert (thrice.state, thrice.reason) == (TrialState.FAILED, "lost its worker 3 times")
    only = lifecycle.lose(trial_in(TrialState.RUNNING), now=1.0, max_lost=1)
    assert (only.state, only.reason) == (TrialState.FAILED, "lost its worker once")


def test_a_completion_after_the_lease_counts_while_no_other_worker_has_the_trial() -> None:
    assert complete(MOVES[Move.LOSE](trial_in(TrialState.RUNNING))).state is TrialState.COMPLETED


def test_a_failure_is_tried_again_as_often_as_it_may_be() -> None:
    first = fail(trial_in(TrialState.RUNNING), retries=1)
    assert (first.state, first.failures) == (TrialState.PENDING, 1)
    second = fail(MOVES[Move.LEASE](first), attempt=3, retries=1)
    assert (second.state, second.failures, second.output) == (TrialState.FAILED, 2, "boom")
