"""The attempts of simulated workers: from the answer that starts one to its completion, failure or early stop."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

from broodline.controller.client import Signal, Start
from broodline.errors import LeaseLost
from broodline.simulation.accounts import Accounts
from broodline.simulation.calls import Calls, Receiver
from broodline.simulation.events import EventQueue
from broodline.simulation.faults import Faults, outcome_of
from broodline.simulation.training import Seconds, TrainFunction, trained
from broodline.simulation.workers import Activity, Attempt, SimulatedWorker
from broodline.storage.checkpoints.base import checkpoint_of
from broodline.workers.reporting import REPORT_SECONDS


class Owner(Receiver, Protocol):
    """Receives answers, and releases the trial of a worker on request."""

    def release(self, worker: SimulatedWorker) -> None:
        """A worker releases its trial."""


class Attempts:
    """Trains trials, and holds the states that stand for checkpoints.

    Training takes no real time: the function is called when an attempt starts. Its reports and its end are events.

    Attributes:
        states: The values that training returned, by the name of the checkpoint.
        found_corrupt: The trials whose checkpoint a worker found corrupt.

    Args:
        owner: The cluster.
        train: The training function.
        seconds_per_step: The duration of a step.
        calls: Makes the calls to the controller.
        events: Plans reports and ends.
        accounts: Books the time.
        faults: The rates of failures and of corrupt checkpoints.
        seed: The seed of the simulation.
    """

    def __init__(
        self,
        *,
        owner: Owner,
        train: TrainFunction,
        seconds_per_step: Seconds,
        calls: Calls,
        events: EventQueue,
        accounts: Accounts,
        faults: Faults,
        seed: int,
    ) -> None:
        self._owner, self._train, self._seconds_per_step = owner, train, seconds_per_step
        self._calls, self._events, self._accounts = calls, events, accounts
        self._faults, self._seed = faults, seed
        self.states: dict[str, Any] = {}
        self.found_corrupt: set[int] = set()
        self._corrupt: set[str] = set()

    def start(self, worker: SimulatedWorker, start: Start) -> None:
        """A worker starts a trial, or reports that the checkpoint it should start from is corrupt."""
        trial = start.trial
        # No name to restore from: another trial has reported this checkpoint, and the records have forgotten it.
        if trial.parent is not None and (start.restore is None or start.restore in self._corrupt):
            self._accounts.faults["damaged"] += 1
            self.found_corrupt.add(trial.parent)
            if start.restore is not None:
                self.states.pop(start.restore, None)
            self._calls.corrupt(worker, start, trial.parent, self._owner)
            return
        training = trained(self._train, self._seconds_per_step, trial, self._restored(start))
        outcome, seconds = outcome_of(self._faults, self._seed, trial), worker.pace * training.seconds
        attempt = Attempt(start=start, training=training, outcome=outcome, started=self._events.now, seconds=seconds)
        self._accounts.start(worker, attempt)
        self._plan(worker, attempt)

    def discard_unreported(self, worker: SimulatedWorker) -> None:
        """Deletes the checkpoint of an attempt that a worker has finished and can't report any more."""
        if worker.unreported is not None:
            self.states.pop(checkpoint_of(worker.unreported.trial), None)

    def _restored(self, start: Start) -> Any:
        if start.restore is None:
            return None
        assert start.restore in self.states, (
            f"trial {start.trial.number} starts from the checkpoint of trial {start.trial.parent}, which was deleted"
        )
        return self.states[start.restore]

    def _plan(self, worker: SimulatedWorker, attempt: Attempt) -> None:
        share, reason = attempt.outcome.fails_after, attempt.training.failed
        end, act = attempt.started + attempt.seconds, partial(self._complete, worker, attempt)
        # The simulated fault comes first: a program that it kills does not reach an error of its own.
        if share is not None:
            end, act = attempt.started + share * attempt.seconds, partial(self._fail, worker, attempt, "a simulated failure")
        elif reason is not None:
            act = partial(self._fail, worker, attempt, reason)
        for time, count in _reports(attempt):
            # Later measurements are a part of the call that ends the attempt.
            if time < end:
                self._events.plan(time, partial(self._report, worker, attempt, count), worker)
        self._events.plan(end, act, worker)

    def _report(self, worker: SimulatedWorker, attempt: Attempt, count: int) -> None:
        if worker.attempt is not attempt or self._calls.outage():  # the next report brings the measurements
            return
        try:
            signal = self._calls.report(attempt, attempt.training.measurements[attempt.reported : count])
        except LeaseLost:
            self._owner.superseded(worker)
            return
        attempt.reported = count
        if signal is Signal.STOP:
            self._accounts.switch(worker, Activity.WAITING)
            self._calls.stop(worker, attempt, self._owner)
        elif signal is Signal.RELEASE:
            self._owner.release(worker)
            self._calls.ask(worker, self._owner)

    def _complete(self, worker: SimulatedWorker, attempt: Attempt) -> None:
        if worker.attempt is not attempt:
            return
        self._accounts.finish(worker, attempt)
        checkpoint = checkpoint_of(attempt.trial)
        self.states[checkpoint] = attempt.training.state
        if attempt.outcome.corrupt:
            self._corrupt.add(checkpoint)
        self._calls.complete(worker, attempt, checkpoint, self._owner)

    def _fail(self, worker: SimulatedWorker, attempt: Attempt, reason: str) -> None:
        if worker.attempt is not attempt:
            return
        self._accounts.faults["failures"] += 1
        self._accounts.write_off(worker, "failures")
        self._calls.fail(worker, attempt, reason, self._owner)


def _reports(attempt: Attempt) -> Iterator[tuple[float, int]]:
    """The times at which a worker reports, at most once in `REPORT_SECONDS`, and the number of its measurements by then."""
    last = attempt.started
    for count, measurement in enumerate(attempt.training.measurements, start=1):
        time = attempt.time_of(measurement.step)
        if time - last >= REPORT_SECONDS:
            last = time
            yield time, count
