"""The life of a trial: which moves are legal, and the functions that make them.

Pure: a move takes a trial and returns the trial after it, or raises and changes nothing. A move that a worker asks for
names the attempt that it speaks for: an attempt that has been superseded is refused (`LeaseLost`), so a worker that was
believed dead can't overwrite what its successor did.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from broodline.core.trial import Trial, TrialState
from broodline.errors import IllegalTransition, LeaseLost

PENDING, RUNNING, COMPLETED, FAILED, STOPPED = TrialState


class Move(StrEnum):
    """What can happen to a trial."""

    LEASE = "lease"
    RENEW = "renew"
    RELEASE = "release"
    LOSE = "lose"
    COMPLETE = "complete"
    FAIL = "fail"
    RETRY = "retry"
    STOP = "stop"


# A pending trial may still be completed, failed or stopped by its last attempt: its lease ran out or it was given
# back, but nobody else has taken it. What was trained is not thrown away for being late.
LEGAL: Mapping[tuple[TrialState, Move], frozenset[TrialState]] = {
    (PENDING, Move.LEASE): frozenset({RUNNING}),
    (RUNNING, Move.RENEW): frozenset({RUNNING}),
    (RUNNING, Move.RELEASE): frozenset({PENDING}),
    (RUNNING, Move.LOSE): frozenset({PENDING, FAILED}),
    (RUNNING, Move.COMPLETE): frozenset({COMPLETED}),
    (PENDING, Move.COMPLETE): frozenset({COMPLETED}),
    (RUNNING, Move.FAIL): frozenset({FAILED}),
    (PENDING, Move.FAIL): frozenset({FAILED}),
    (RUNNING, Move.RETRY): frozenset({PENDING}),
    (PENDING, Move.RETRY): frozenset({PENDING}),
    (RUNNING, Move.STOP): frozenset({STOPPED}),
    (PENDING, Move.STOP): frozenset({STOPPED}),
}


def lease(trial: Trial, *, worker: str, session: str, now: float, seconds: float) -> Trial:
    """Gives a pending trial to a worker, as its next attempt."""
    return _moved(
        trial,
        Move.LEASE,
        RUNNING,
        worker=worker,
        session=session,
        attempt=trial.attempt + 1,
        lease_until=now + seconds,
        started=now,
        reason=None,
    )


def renew(trial: Trial, *, now: float, seconds: float) -> Trial:
    """Extends the lease of a running trial."""
    return _moved(trial, Move.RENEW, RUNNING, lease_until=now + seconds)


def release(trial: Trial) -> Trial:
    """Puts a running trial back to pending, because its worker said goodbye."""
    return _moved(trial, Move.RELEASE, PENDING, lease_until=None, session=None)


def lose(trial: Trial, *, now: float, max_lost: int) -> Trial:
    """Takes a running trial from a worker that vanished; the `max_lost`-th time it has failed: it may be what kills them."""
    lost = trial.lost + 1
    if lost < max_lost:
        return _moved(trial, Move.LOSE, PENDING, lost=lost, lease_until=None, session=None)
    return _moved(trial, Move.LOSE, FAILED, lost=lost, lease_until=None, reason="lost", finished=now)


def complete(
    trial: Trial,
    *,
    attempt: int,
    now: float,
    steps: int,
    metrics: Mapping[str, Any],
    fitness: tuple[float, ...],
    checkpoint: str,
) -> Trial:
    """Completes a trial; told twice by the same attempt, it stays as it is."""
    check_attempt(trial, attempt)
    if trial.state is COMPLETED:
        return trial
    done = dict(steps=steps, metrics=metrics, fitness=fitness, checkpoint=checkpoint, finished=now)
    return _moved(trial, Move.COMPLETE, COMPLETED, lease_until=None, reason=None, output=None, **done)


def fail(
    trial: Trial,
    *,
    attempt: int,
    now: float,
    reason: str,
    output: str,
    retries: int,
    metrics: Mapping[str, Any] | None = None,
) -> Trial:
    """Fails a trial, or puts it back to pending while it has retries left."""
    check_attempt(trial, attempt)
    if trial.state is FAILED:
        return trial
    failures = trial.failures + 1
    told = dict(failures=failures, reason=reason, output=output, lease_until=None)
    if failures <= retries:
        return _moved(trial, Move.RETRY, PENDING, session=None, **told)
    return _moved(trial, Move.FAIL, FAILED, finished=now, metrics=metrics, **told)


def stop(trial: Trial, *, attempt: int, now: float, steps: int, reason: str, metrics: Mapping[str, Any] | None) -> Trial:
    """Ends a trial early, because it can't matter any more."""
    check_attempt(trial, attempt)
    if trial.state is STOPPED:
        return trial
    return _moved(trial, Move.STOP, STOPPED, lease_until=None, finished=now, steps=steps, reason=reason, metrics=metrics)


def check_attempt(trial: Trial, attempt: int) -> None:
    """Refuses an attempt that has been superseded.

    Raises:
        LeaseLost: A higher attempt exists.
    """
    if trial.attempt != attempt:
        raise LeaseLost(
            f"trial {trial.number}: attempt {attempt} has been superseded by attempt {trial.attempt} "
            f"(worker {trial.worker}); what it brought is dropped"
        )


def check_unfinished(trial: Trial, attempt: int) -> None:
    """Refuses, too, an attempt at a trial that is finished: what it does now is for nothing.

    Raises:
        LeaseLost: A higher attempt exists, or the trial is finished.
    """
    check_attempt(trial, attempt)
    if trial.state.finished:
        raise LeaseLost(f"trial {trial.number} is {trial.state} ({trial.reason or 'done'}): attempt {attempt} at it has ended")


def _moved(trial: Trial, move: Move, to: TrialState, **changes: Any) -> Trial:
    if to not in LEGAL.get((trial.state, move), ()):
        if trial.state.finished:
            raise LeaseLost(f"trial {trial.number} is {trial.state} ({trial.reason or 'done'}): it takes no more '{move}'")
        raise IllegalTransition(f"trial {trial.number} is {trial.state}: '{move}' to {to} is not legal")
    return trial.evolve(state=to, **changes)
