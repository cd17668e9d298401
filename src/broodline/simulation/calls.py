"""The calls of simulated workers to the real controller: the queue for the store, outages, lost answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Protocol

from broodline.controller.client import Answer, Signal, Start, Wait
from broodline.controller.controller import Controller
from broodline.core.trial import Measurement
from broodline.errors import LeaseLost
from broodline.simulation.accounts import Accounts
from broodline.simulation.clock import VirtualClock
from broodline.simulation.events import EventQueue
from broodline.simulation.faults import Faults, Outages
from broodline.simulation.heartbeats import Heartbeats
from broodline.simulation.workers import Attempt, SimulatedWorker
from broodline.workers.retrying import FIRST_WAIT, LONGEST_WAIT

_RETRY_WITHIN = 5 * LONGEST_WAIT  # seconds after an outage within which every worker has retried

Call = Callable[[], Answer]


class Receiver(Protocol):
    """Receives what the controller answers."""

    def answered(self, worker: SimulatedWorker, answer: Answer) -> None:
        """A worker received an answer."""

    def superseded(self, worker: SimulatedWorker) -> None:
        """A worker learned that its trial was given to another worker."""


class Calls:
    """Makes calls when the store is free and not in an outage, and passes the answers on.

    Args:
        controller: The real controller.
        study: The name of the study.
        clock: The clock of the simulation.
        events: Plans calls that wait.
        heartbeats: The heartbeats of the workers.
        accounts: Counts calls and lost answers.
        faults: The rates of outages and lost answers.
        seed: The seed of the simulation.
        seconds: The duration of a call, during which no other call is made.
    """

    def __init__(
        self,
        *,
        controller: Controller,
        study: str,
        clock: VirtualClock,
        events: EventQueue,
        heartbeats: Heartbeats,
        accounts: Accounts,
        faults: Faults,
        seed: int,
        seconds: float,
    ) -> None:
        self._controller, self._study, self._clock = controller, study, clock
        self._events, self._heartbeats, self._accounts = events, heartbeats, accounts
        self._faults, self._seconds = faults, seconds
        self._outages = Outages(faults, seed)
        self._rng = Random(f"broodline simulation {seed} calls")
        self._store_free_at = 0.0
        self._last_write = 0.0

    @property
    def outages(self) -> int:
        """The number of outages that are over."""
        return self._outages.count

    def outage(self) -> tuple[float, float] | None:
        """The start and the end of the outage that lasts now; None without one."""
        self._end_outages(self._events.now)
        return self._outages.at(self._events.now)

    def ask(self, worker: SimulatedWorker, receiver: Receiver) -> None:
        """A worker asks for a trial."""
        self.make(worker, partial(self._controller.ask, self._study, worker.identity), receiver)

    def complete(self, worker: SimulatedWorker, attempt: Attempt, checkpoint: str, receiver: Receiver) -> None:
        """A worker completes its attempt and asks for the next trial."""
        trial, rest = attempt.trial, attempt.training.measurements[attempt.reported :]
        call = partial(self._controller.complete, self._study, trial.number, trial.attempt, rest, checkpoint, worker.identity)
        self.make(worker, call, receiver)

    def fail(self, worker: SimulatedWorker, attempt: Attempt, reason: str, receiver: Receiver) -> None:
        """A worker reports that its program failed, with the measurements until then, and asks for the next trial."""
        trial, unreported = attempt.trial, attempt.training.measurements[attempt.reported :]
        rest = [measurement for measurement in unreported if attempt.time_of(measurement.step) <= self._events.now]
        call = partial(self._controller.fail, self._study, trial.number, trial.attempt, rest, reason, "", worker.identity)
        self.make(worker, call, receiver)

    def corrupt(self, worker: SimulatedWorker, start: Start, parent: int, receiver: Receiver) -> None:
        """A worker reports that the checkpoint of its trial's parent is corrupt."""
        trial = start.trial
        call = partial(self._controller.damaged, self._study, trial.number, trial.attempt, parent, worker.identity)
        self.make(worker, call, receiver)

    def stop(self, worker: SimulatedWorker, attempt: Attempt, receiver: Receiver) -> None:
        """A worker ends its trial early and asks for the next one."""
        trial = attempt.trial
        self.make(worker, partial(self._controller.stop, self._study, trial.number, trial.attempt, [], worker.identity), receiver)

    def report(self, attempt: Attempt, measurements: Sequence[Measurement]) -> Signal:
        """Reports measurements of a running attempt at once; the caller has seen that there is no outage.

        Raises:
            LeaseLost: Another worker has the trial.
        """
        self._accounts.calls += 1
        trial = attempt.trial
        signal = self._controller.report(self._study, trial.number, trial.attempt, measurements, attempt.reports + 1)
        attempt.reports += 1
        self._last_write = self._events.now
        return signal

    def release(self, worker: SimulatedWorker) -> None:
        """A worker leaves and releases its trial; the caller has seen that there is no outage."""
        self._controller.release(self._study, [worker.identity.session])
        self._last_write = self._events.now
        self._heartbeats.end(worker.identity.session)

    def make(self, worker: SimulatedWorker, call: Call, receiver: Receiver) -> None:
        """Makes a call when the store is free."""
        if not self._seconds:
            self._try(worker, call, receiver)
            return
        self._store_free_at = max(self._store_free_at, self._events.now) + self._seconds
        self._events.plan(self._store_free_at, partial(self._try, worker, call, receiver), worker)

    def renew_until(self, time: float) -> None:
        """Renews the leases of the study once a lease until a time.

        The heartbeats of workers are computed, not sent. Without these calls the store would see a study at rest, and a
        budget of time would not count the time in which workers only train.
        """
        lease = self._heartbeats.lease
        while time - self._last_write > lease:
            self._last_write += lease
            self._end_outages(self._last_write)
            if not self._outages.at(self._last_write):
                self._clock.seconds = self._last_write
                self._controller.renew(self._study, [])

    def _try(self, worker: SimulatedWorker, call: Call, receiver: Receiver) -> None:
        if outage := self.outage():
            self._retry(outage[1] + self._rng.uniform(0.0, _RETRY_WITHIN), worker, call, receiver)
            return
        try:
            answer = self._answer(worker, call)
        except LeaseLost:
            receiver.superseded(worker)
            return
        if self._faults.lost_answers and self._rng.random() < self._faults.lost_answers:
            self._accounts.faults["lost answers"] += 1
            self._retry(self._events.now + self._rng.uniform(FIRST_WAIT, LONGEST_WAIT), worker, call, receiver)
        else:
            receiver.answered(worker, answer)

    def _retry(self, time: float, worker: SimulatedWorker, call: Call, receiver: Receiver) -> None:
        self._events.plan(time, partial(self._try, worker, call, receiver), worker)

    def _answer(self, worker: SimulatedWorker, call: Call) -> Answer:
        self._accounts.calls += 1
        answer = call()
        if not isinstance(answer, Wait):  # a worker that has to wait leaves no write
            self._last_write = self._events.now
        if isinstance(answer, Start):
            self._heartbeats.begin(worker.identity.session, self._events.now)
        else:
            self._heartbeats.end(worker.identity.session)
        self._accounts.reported(worker)
        return answer

    def _end_outages(self, time: float) -> None:
        while outage := self._outages.ended(time):
            self._heartbeats.unheard(*outage)
