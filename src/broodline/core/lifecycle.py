"""The life cycle of a trial: a state machine with leases.

Theory of operation
===================

A trial is PENDING until a worker leases it. It is RUNNING while a worker holds its lease, and ends COMPLETED, FAILED or STOPPED.
The table `LEGAL` lists every move; the functions below are the only code that changes the state of a trial. Each is pure: it
takes a trial and returns the trial after the move, or raises and changes nothing. The clock is an argument.

A lease is a promise with a deadline. A worker renews it with heartbeats. When the deadline passes, another call takes the trial
back (`lose`), and the next worker leases it as a new attempt. The old worker may still be alive, for example after a network
partition, and may report later. Two rules make that safe:

- Each lease increments `attempt`, and each report of a worker names its attempt. A report of an older attempt is refused with
  `LeaseLost`, so a worker that was presumed dead never overwrites the result of its successor (a fencing token).
- While no successor exists, the last attempt stays valid. It may complete, fail or stop a PENDING trial, so a late result is
  kept instead of trained again.

Reports are idempotent: a report that is repeated by the same attempt returns the trial unchanged, because a worker that did not
receive the answer sends it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from broodline.core.trial import Trial, TrialState
from broodline.errors import IllegalTransition, LeaseLost

PENDING = TrialState.PENDING
RUNNING = TrialState.RUNNING
COMPLETED = TrialState.COMPLETED
FAILED = TrialState.FAILED
STOPPED = TrialState.STOPPED


class Move(StrEnum):
    """An event in the life of a trial."""

    LEASE = "lease"
    RENEW = "renew"
    RELEASE = "release"
    LOSE = "lose"
    COMPLETE = "complete"
    FAIL = "fail"
    RETRY = "retry"
    STOP = "stop"


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
    """Leases a pending trial to a worker, as its next attempt."""
    return _moved(
        trial,
        Move.LEASE,
        RUNNING,
        worker=worker,
        session=session,
        attempt=trial.attempt + 1,
        reports=0,
        lease_until=now + seconds,
        started=now,
        reason=None,
    )


def renew(trial: Trial, *, now: float, seconds: float) -> Trial:
    """Extends the lease of a running trial."""
    return _moved(trial, Move.RENEW, RUNNING, lease_until=now + seconds)


def release(trial: Trial) -> Trial:
    """Returns a running trial to pending, because its worker shuts down in an orderly way."""
    return _moved(trial, Move.RELEASE, PENDING, lease_until=None, session=None)


def lose(trial: Trial, *, now: float, max_lost: int) -> Trial:
    """Takes a running trial back from a worker whose lease has expired.

    The `max_lost`-th loss fails the trial, because the trial itself may crash its workers.
    """
    lost = trial.lost + 1
    if lost < max_lost:
        return _moved(trial, Move.LOSE, PENDING, lost=lost, lease_until=None, session=None)
    times = "once" if lost == 1 else f"{lost} times"
    return _moved(trial, Move.LOSE, FAILED, lost=lost, lease_until=None, reason=f"lost its worker {times}", finished=now)


def complete(
    trial: Trial,
    *,
    attempt: int,
    now: float,
    steps: int,
    metrics: Mapping[str, Any],
    fitness: tuple[float, ...],
    checkpoint: str,
    doubt: str | None = None,
) -> Trial:
    """Completes a trial; a repeated report of the same attempt changes nothing."""
    check_attempt(trial, attempt)
    if trial.state is COMPLETED:
        return trial
    # A completed trial keeps no output: that of an earlier, failed attempt would look like its own.
    done = dict(steps=steps, metrics=metrics, fitness=fitness, checkpoint=checkpoint, finished=now)
    return _moved(trial, Move.COMPLETE, COMPLETED, lease_until=None, reason=doubt, output=None, **done)


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
    """Fails a trial, or returns it to pending while it has retries left."""
    check_attempt(trial, attempt)
    if trial.state is FAILED:
        return trial
    failures = trial.failures + 1
    # Also a trial that is retried keeps reason and output: `status` shows why it waits.
    report = dict(failures=failures, reason=reason, output=output, lease_until=None)
    if failures <= retries:
        return _moved(trial, Move.RETRY, PENDING, session=None, **report)
    return _moved(trial, Move.FAIL, FAILED, finished=now, metrics=metrics, **report)


def stop(trial: Trial, *, attempt: int, now: float, steps: int, reason: str, metrics: Mapping[str, Any] | None) -> Trial:
    """Ends a trial early, as the early stopping rule decided."""
    check_attempt(trial, attempt)
    if trial.state is STOPPED:
        return trial
    return _moved(trial, Move.STOP, STOPPED, lease_until=None, finished=now, steps=steps, reason=reason, metrics=metrics)


def check_attempt(trial: Trial, attempt: int) -> None:
    """Refuses an attempt that a later one has superseded.

    Raises:
        LeaseLost: A later attempt exists.
    """
    if trial.attempt != attempt:
        raise LeaseLost(
            f"trial {trial.number}: attempt {attempt} has been superseded by attempt {trial.attempt} "
            f"(worker {trial.worker}); its report is dropped"
        )


def check_unfinished(trial: Trial, attempt: int) -> None:
    """Refuses an attempt that is superseded, or whose trial is finished: further training would be wasted.

    Raises:
        LeaseLost: A later attempt exists, or the trial is finished.
    """
    check_attempt(trial, attempt)
    if trial.state.finished:
        raise LeaseLost(f"trial {trial.number} is {trial.state} ({trial.reason or 'done'}): attempt {attempt} has ended")


def _moved(trial: Trial, move: Move, to: TrialState, **changes: Any) -> Trial:
    if to not in LEGAL.get((trial.state, move), ()):
        if trial.state.finished:
            raise LeaseLost(f"trial {trial.number} is {trial.state} ({trial.reason or 'done'}): it accepts no '{move}'")
        raise IllegalTransition(f"trial {trial.number} is {trial.state}: '{move}' to {to} is not legal")
    return trial.evolve(state=to, **changes)
