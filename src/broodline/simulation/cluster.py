"""The simulated cluster: workers arrive, ask, train and leave, in virtual time.

Theory of operation. The controller and the store are real; the world around them is simulated. `EventQueue` orders events,
`Calls` makes the calls of workers, `Attempts` trains, `Accounts` books time. `Cluster` connects them: it moves workers in and
out, distributes the answers of the controller, and sees when the study ends. All random numbers follow from the seed, and
events of the same time happen in the order in which they were planned, so a simulation can be repeated exactly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import partial

from broodline.controller.client import Answer, Done, Start, Wait
from broodline.controller.controller import Controller
from broodline.core.study import StudyConfig
from broodline.errors import StudyFailed
from broodline.simulation.accounts import Accounts
from broodline.simulation.attempts import Attempts
from broodline.simulation.calls import Calls
from broodline.simulation.clock import VirtualClock
from broodline.simulation.events import EventQueue
from broodline.simulation.faults import HOUR, Departures, Faults, paces
from broodline.simulation.heartbeats import Heartbeats
from broodline.simulation.training import Seconds, TrainFunction
from broodline.simulation.workers import Activity, SimulatedWorker

_AFTER_LEASE = 1e-3  # seconds: a lease has expired when its last moment is over
_STUCK = HOUR


class Cluster:
    """The workers of a study, and all that happens to them until the study is done.

    Args:
        controller: The real controller.
        study: The study.
        clock: The clock of the controller's store.
        heartbeats: The heartbeats that the store believes in.
        train: The training function.
        seconds_per_step: The duration of a step.
        sizes: The number of workers from a virtual second on.
        faults: The rates of faults.
        seed: The seed of all random numbers of the cluster.
        call_seconds: The duration of a call, during which no other call is made.
    """

    def __init__(
        self,
        *,
        controller: Controller,
        study: StudyConfig,
        clock: VirtualClock,
        heartbeats: Heartbeats,
        train: TrainFunction,
        seconds_per_step: Seconds,
        sizes: Mapping[float, int],
        faults: Faults,
        seed: int,
        call_seconds: float,
    ) -> None:
        self._study, self._clock, self._heartbeats, self._sizes = study, clock, heartbeats, sizes
        self._events, self.accounts = EventQueue(clock), Accounts(clock)
        self._calls = Calls(
            controller=controller,
            study=study.name,
            clock=clock,
            events=self._events,
            heartbeats=heartbeats,
            accounts=self.accounts,
            faults=faults,
            seed=seed,
            seconds=call_seconds,
        )
        self.attempts = Attempts(
            owner=self,
            train=train,
            seconds_per_step=seconds_per_step,
            calls=self._calls,
            events=self._events,
            accounts=self.accounts,
            faults=faults,
            seed=seed,
        )
        self._workers = [
            SimulatedWorker(number=number, pace=pace, departures=Departures(faults, seed, number))
            for number, pace in enumerate(paces(faults, seed, max(sizes.values())))
        ]
        self._waiting: deque[tuple[SimulatedWorker, int]] = deque()
        self._last_start = 0.0
        self.ended: str | None = None

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self._clock.seconds

    def run(self) -> None:
        """Runs until a worker learns that the study is done and all running trials have ended, or no worker is left.

        Raises:
            StudyFailed: The strategy keeps all workers waiting forever.
        """
        for time, size in sorted(self._sizes.items()):
            self._events.plan(time, partial(self._resize, size))
        while self.ended is None and self._step():
            pass
        while self.accounts.any_work and self._step():  # the study has ended, and the running trials finish
            pass
        # No event is left, so no worker will ever be woken: in real time the study would wait for ever.
        if self.ended is None and any(worker.life == life for worker, life in self._waiting):
            self._refuse_to_wait()
        for worker in self._workers:
            self.accounts.switch(worker, Activity.AWAY)
        self.accounts.faults["outages"] = self._calls.outages

    def answered(self, worker: SimulatedWorker, answer: Answer) -> None:
        """A worker acts on the answer to its call."""
        # A deleted checkpoint must be out of reach here too: a strategy that still needs it then fails as it would on a disk.
        for checkpoint in answer.delete:
            self.attempts.states.pop(checkpoint, None)
        match answer:
            case Start():
                self._last_start = self.now
                self.attempts.start(worker, answer)
                self._wake_one()
            case Wait():
                self._waiting.append((worker, worker.life))
                self._check_progress()
            case Done(reason=reason):
                self.ended = self.ended or reason

    def superseded(self, worker: SimulatedWorker) -> None:
        """A worker discards its attempt, because another worker has the trial, and asks again."""
        self.attempts.discard_unreported(worker)
        self.accounts.faults["superseded"] += 1
        self.accounts.write_off(worker, "superseded")
        self._calls.ask(worker, self)

    def release(self, worker: SimulatedWorker) -> None:
        """A worker releases its trial; during an outage the store only learns of it when the lease expires."""
        if self._calls.outage():
            self._die(worker, "preemptions")
            return
        self.accounts.write_off(worker, "preemptions")
        self._calls.release(worker)
        self._wake_one()

    def _step(self) -> bool:
        event = self._events.pop()
        if event is None:
            return False
        time, act = event
        # Heartbeats are no events of their own: thousands of workers would fill the queue with them.
        if self.accounts.any_training:
            self._calls.renew_until(time)
        self._clock.seconds = time
        act()
        return True

    def _resize(self, size: int) -> None:
        for worker in self._workers[:size]:
            if not worker.present:
                worker.present, worker.since = True, self.now
                self._arrive(worker)
        for worker in self._workers[size:]:
            if worker.present:
                worker.present = False
                self.release(worker)
                self._leave(worker)

    def _arrive(self, worker: SimulatedWorker) -> None:
        # Events planned for an earlier life, such as the end of a trial, no longer apply to this worker.
        worker.life += 1
        self.accounts.switch(worker, Activity.WAITING)
        if departure := worker.departures.next():
            after, releases = departure
            self._events.plan(self.now + after, partial(self._depart, worker, releases), worker)
        self._calls.ask(worker, self)

    def _depart(self, worker: SimulatedWorker, releases: bool) -> None:
        self.accounts.faults["preemptions" if releases else "crashes"] += 1
        if releases:
            self.release(worker)
        else:
            self._die(worker, "crashes")
        self._leave(worker)
        self._events.plan(self.now + worker.departures.absence(), partial(self._return, worker), worker)

    def _return(self, worker: SimulatedWorker) -> None:
        if worker.present:
            self._arrive(worker)

    def _leave(self, worker: SimulatedWorker) -> None:
        worker.life += 1
        self.accounts.switch(worker, Activity.AWAY)

    def _die(self, worker: SimulatedWorker, fault: str) -> None:
        self.accounts.write_off(worker, fault)
        outage = self._calls.outage()
        expires = self._heartbeats.cease(worker.identity.session, outage[0] if outage else self.now)
        # The controller notices the loss at the first call after the lease: one waiting worker makes that call.
        self._events.plan(max(expires or 0.0, self.now) + _AFTER_LEASE, self._wake_one)

    def _wake_one(self) -> None:
        """Lets one waiting worker ask again after a change; if it gets a trial, it wakes the next.

        All waiting workers would get the same answer, so one call is enough.
        """
        while self._waiting:
            worker, life = self._waiting.popleft()
            if worker.life == life:
                self._events.plan(self.now, partial(self._calls.ask, worker, self), worker)
                return

    def _check_progress(self) -> None:
        idle = not self.accounts.any_work and not self._heartbeats.any_dead
        if idle and self.now - self._last_start > _STUCK:
            self._refuse_to_wait()

    def _refuse_to_wait(self) -> None:
        raise StudyFailed(
            f"study '{self._study.name}': all workers wait at {self.now:g} virtual seconds, and no trial runs\n"
            f"help: strategy '{self._study.evolution.strategy}' waits for an event that can't happen"
        )
