"""The simulated cluster: an event queue in virtual time, in which workers ask, train, complete, go and come back.

What is simulated is the world around the controller: the clock, the workers, the programs. The controller and the store are
the real ones. Events of the same time happen in the order in which they were planned, so a simulation follows from its seeds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from heapq import heappop, heappush
from random import Random
from typing import Any

from broodline.controller.client import Answer, Done, Signal, Start, Wait
from broodline.controller.controller import Controller
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial
from broodline.errors import LeaseLost, StudyFailed
from broodline.simulation.clock import VirtualClock
from broodline.simulation.faults import HOUR, Departures, Faults, Outages, fate_of, paces
from broodline.simulation.heartbeats import Heartbeats
from broodline.simulation.training import Seconds, Train, trained
from broodline.simulation.workers import Attempt, Doing, SimulatedWorker, Tally
from broodline.workers.reporting import REPORT_SECONDS
from broodline.workers.retrying import FIRST_WAIT, LONGEST_WAIT

_INSISTING = 5 * LONGEST_WAIT  # within so many seconds of the end of an outage a worker calls again
_MOMENT = 1e-3  # behind the end of a lease
_STUCK = HOUR

Call = Callable[[], Answer]


class Cluster:
    """Workers, and what happens to them until the study is done.

    Args:
        controller: Whom the workers ask.
        study: The study.
        clock: That of the controller's store.
        heartbeats: What the store believes of the workers.
        train: What their programs do.
        seconds_per_step: How long that takes.
        sizes: How many workers there are from a time on, by virtual seconds.
        faults: What goes wrong.
        seed: Of all that is drawn here.
        call_seconds: How long a call keeps the store busy: calls queue for it.
    """

    def __init__(
        self,
        *,
        controller: Controller,
        study: StudyConfig,
        clock: VirtualClock,
        heartbeats: Heartbeats,
        train: Train,
        seconds_per_step: Seconds,
        sizes: Mapping[float, int],
        faults: Faults,
        seed: int,
        call_seconds: float,
    ) -> None:
        self._controller, self._study, self._clock, self._heartbeats = controller, study, clock, heartbeats
        self._train, self._seconds_per_step, self._sizes = train, seconds_per_step, sizes
        self._faults, self._seed, self._call_seconds = faults, seed, call_seconds
        self._outages = Outages(faults, seed)
        self._rng = Random(f"broodline simulation {seed} calls")
        self._workers = [
            SimulatedWorker(number=number, pace=pace, departures=Departures(faults, seed, number))
            for number, pace in enumerate(paces(faults, seed, max(sizes.values())))
        ]
        self._events: list[tuple[float, int, int, int, Callable[[], None]]] = []
        self._planned = 0
        self._waiting: deque[tuple[SimulatedWorker, int]] = deque()
        self._training = self._untold = 0
        self._store_free = 0.0
        self._touched = 0.0
        self._last_start = 0.0
        self.states: dict[str, Any] = {}
        self.found_damaged: set[int] = set()
        self._damaged: set[str] = set()
        self.tally = Tally()
        self.ended: str | None = None

    @property
    def now(self) -> float:
        """Virtual seconds since the beginning."""
        return self._clock.seconds

    def run(self) -> None:
        """Goes on until every worker has heard that the study is done, or none is left.

        Raises:
            StudyFailed: The strategy keeps all workers waiting for ever.
        """
        for time, size in sorted(self._sizes.items()):
            self._plan(time, partial(self._resize, size))
        while self._events and self.ended is None:
            self._step()
        while self._events and self._training + self._untold:  # the study has ended, and what is running finishes
            self._step()
        if self.ended is None and self._still_waiting():
            self._refuse_to_wait()
        for worker in self._workers:
            self._turn_to(worker, Doing.AWAY)
        self.tally.faults["outages"] = self._outages.count

    def _step(self) -> None:
        time, _, number, life, act = heappop(self._events)
        if number >= 0 and self._workers[number].life != life:
            return
        self._keep_active_until(time)
        self._clock.seconds = time
        act()

    def _plan(self, time: float, act: Callable[[], None], worker: SimulatedWorker | None = None) -> None:
        whose, life = (-1, 0) if worker is None else (worker.number, worker.life)
        heappush(self._events, (time, self._planned, whose, life, act))
        self._planned += 1

    def _keep_active_until(self, time: float) -> None:
        """Has the time count as active in which somebody trained: their heartbeats touch the study."""
        lease = self._heartbeats.lease
        while self._training and time - self._touched > lease:
            self._touched += lease
            self._end_outages(self._touched)
            if not self._outages.at(self._touched):
                self._clock.seconds = self._touched
                self._controller.renew(self._study.name, [])

    # Workers come and go.

    def _resize(self, size: int) -> None:
        for worker in self._workers[:size]:
            if not worker.present:
                worker.present, worker.since = True, self.now
                self._arrive(worker)
        for worker in self._workers[size:]:
            if worker.present:
                worker.present = False
                self._say_goodbye(worker)
                self._leave(worker)

    def _arrive(self, worker: SimulatedWorker) -> None:
        worker.life += 1
        self._turn_to(worker, Doing.WAITING)
        if departure := worker.departures.next():
            after, goodbye = departure
            self._plan(self.now + after, partial(self._depart, worker, goodbye), worker)
        self._call(worker, partial(self._controller.ask, self._study.name, worker.identity))

    def _depart(self, worker: SimulatedWorker, goodbye: bool) -> None:
        self.tally.faults["preemptions" if goodbye else "crashes"] += 1
        if goodbye:
            self._say_goodbye(worker)
        else:
            self._die(worker, "crashes")
        self._leave(worker)
        self._plan(self.now + worker.departures.absence(), partial(self._come_back, worker), worker)

    def _come_back(self, worker: SimulatedWorker) -> None:
        if worker.present:
            self._arrive(worker)

    def _leave(self, worker: SimulatedWorker) -> None:
        worker.life += 1
        self._turn_to(worker, Doing.AWAY)

    def _say_goodbye(self, worker: SimulatedWorker) -> None:
        if self._outage():
            self._die(worker, "preemptions")  # a goodbye that the store can't hear is none
            return
        self._in_vain(worker, "preemptions")
        self._controller.release(self._study.name, [worker.identity.session])
        self._touched = self.now
        self._heartbeats.end(worker.identity.session)
        self._wake_one()

    def _die(self, worker: SimulatedWorker, why: str) -> None:
        self._in_vain(worker, why)
        outage = self._outage()
        lapse = self._heartbeats.cease(worker.identity.session, outage[0] if outage else self.now)
        self._plan(max(lapse or 0.0, self.now) + _MOMENT, self._wake_one)

    # Workers call the controller.

    def _call(self, worker: SimulatedWorker, call: Call) -> None:
        """Has a worker call, when the store is free and answers; what it answers is heard by `_hear`."""
        if not self._call_seconds:
            self._make(worker, call)
            return
        self._store_free = max(self._store_free, self.now) + self._call_seconds
        self._plan(self._store_free, partial(self._make, worker, call), worker)

    def _make(self, worker: SimulatedWorker, call: Call) -> None:
        if outage := self._outage():
            self._plan(outage[1] + self._rng.uniform(0.0, _INSISTING), partial(self._make, worker, call), worker)
            return
        try:
            answer = self._answer(worker, call)
        except LeaseLost:
            self._superseded(worker)
            return
        if self._faults.lost_answers and self._rng.random() < self._faults.lost_answers:
            self.tally.faults["lost answers"] += 1
            again = self._rng.uniform(FIRST_WAIT, LONGEST_WAIT)
            self._plan(self.now + again, partial(self._make, worker, call), worker)
        else:
            self._hear(worker, answer)

    def _answer(self, worker: SimulatedWorker, call: Call) -> Answer:
        self.tally.calls += 1
        answer = call()
        if not isinstance(answer, Wait):  # nothing is written for one who waits
            self._touched = self.now
        if isinstance(answer, Start):
            self._heartbeats.begin(worker.identity.session, self.now)
        else:
            self._heartbeats.end(worker.identity.session)
        self._tell(worker, None)
        return answer

    def _hear(self, worker: SimulatedWorker, answer: Answer) -> None:
        for checkpoint in answer.delete:
            self.states.pop(checkpoint, None)
        match answer:
            case Start():
                self._last_start = self.now
                self._begin(worker, answer)
                self._wake_one()
            case Wait():
                self._waiting.append((worker, worker.life))
                self._look_for_an_end()
            case Done(reason=reason):
                self.ended = self.ended or reason

    def _wake_one(self) -> None:
        """Has one waiting worker ask again, because something changed; if it is given a trial, it wakes the next.

        All who wait would be told the same, so one who asks for all is enough.
        """
        while self._waiting:
            worker, life = self._waiting.popleft()
            if worker.life == life:
                ask = partial(self._controller.ask, self._study.name, worker.identity)
                self._plan(self.now, partial(self._call, worker, ask), worker)
                return

    def _superseded(self, worker: SimulatedWorker) -> None:
        """Somebody else has the trial by now."""
        if worker.untold is not None:
            self.states.pop(checkpoint_of(worker.untold.trial), None)
        self.tally.faults["superseded"] += 1
        self._in_vain(worker, "superseded")
        self._call(worker, partial(self._controller.ask, self._study.name, worker.identity))

    def _outage(self) -> tuple[float, float] | None:
        self._end_outages(self.now)
        return self._outages.at(self.now)

    def _end_outages(self, time: float) -> None:
        while over := self._outages.ended(time):
            self._heartbeats.unheard(*over)

    # Workers train.

    def _begin(self, worker: SimulatedWorker, start: Start) -> None:
        trial, study = start.trial, self._study.name
        if trial.parent is not None and (start.restore is None or start.restore in self._damaged):
            self.tally.faults["damaged"] += 1
            self.found_damaged.add(trial.parent)
            if start.restore is not None:
                self.states.pop(start.restore, None)
            tell = partial(self._controller.damaged, study, trial.number, trial.attempt, trial.parent, worker.identity)
            self._call(worker, tell)
            return
        training = trained(self._train, self._seconds_per_step, trial, self._restored(start))
        outcome, seconds = fate_of(self._faults, self._seed, trial), worker.pace * training.seconds
        attempt = Attempt(start=start, training=training, outcome=outcome, begun=self.now, seconds=seconds)
        self._turn_to(worker, Doing.TRAINING)
        worker.attempt = attempt
        self._plan_the_end(worker, attempt)

    def _restored(self, start: Start) -> Any:
        if start.restore is None:
            return None
        assert start.restore in self.states, (
            f"trial {start.trial.number} is to start from the checkpoint of trial {start.trial.parent}, which was swept"
        )
        return self.states[start.restore]

    def _plan_the_end(self, worker: SimulatedWorker, attempt: Attempt) -> None:
        share, reason = attempt.outcome.fails_after, attempt.training.failed
        end, act = attempt.begun + attempt.seconds, partial(self._complete, worker, attempt)
        if share is not None:
            end, act = attempt.begun + share * attempt.seconds, partial(self._fail, worker, attempt, "it was to fail")
        elif reason is not None:
            act = partial(self._fail, worker, attempt, reason)
        for time, count in self._reports(attempt):
            if time < end:
                self._plan(time, partial(self._report, worker, attempt, count), worker)
        self._plan(end, act, worker)

    def _reports(self, attempt: Attempt) -> Iterator[tuple[float, int]]:
        """When a worker reports, and how many measurements it has made by then: at most once a second."""
        last = attempt.begun
        for count, measurement in enumerate(attempt.training.measurements, start=1):
            time = attempt.time_of(measurement.step)
            if time - last >= REPORT_SECONDS:
                last = time
                yield time, count

    def _report(self, worker: SimulatedWorker, attempt: Attempt, count: int) -> None:
        if worker.attempt is not attempt or self._outage():  # what was measured is told later
            return
        study, trial = self._study.name, attempt.trial
        self.tally.calls += 1
        untold = attempt.training.measurements[attempt.told : count]
        try:
            signal = self._controller.report(study, trial.number, trial.attempt, untold)
        except LeaseLost:
            self._superseded(worker)
            return
        attempt.told, self._touched = count, self.now
        if signal is Signal.STOP:
            self._turn_to(worker, Doing.WAITING)
            self._call(worker, partial(self._controller.stop, study, trial.number, trial.attempt, [], worker.identity))
        elif signal is Signal.RELEASE:
            self._say_goodbye(worker)
            self._call(worker, partial(self._controller.ask, study, worker.identity))

    def _complete(self, worker: SimulatedWorker, attempt: Attempt) -> None:
        if worker.attempt is not attempt:
            return
        self._tell(worker, attempt)
        trial, checkpoint = attempt.trial, checkpoint_of(attempt.trial)
        self.states[checkpoint] = attempt.training.state
        if attempt.outcome.damaged:
            self._damaged.add(checkpoint)
        rest = attempt.training.measurements[attempt.told :]
        tell = partial(
            self._controller.complete, self._study.name, trial.number, trial.attempt, rest, checkpoint, worker.identity
        )
        self._call(worker, tell)

    def _fail(self, worker: SimulatedWorker, attempt: Attempt, reason: str) -> None:
        if worker.attempt is not attempt:
            return
        self.tally.faults["failures"] += 1
        self._in_vain(worker, "failures")
        trial, untold = attempt.trial, attempt.training.measurements[attempt.told :]
        rest = [measurement for measurement in untold if attempt.time_of(measurement.step) <= self.now]
        tell = partial(self._controller.fail, self._study.name, trial.number, trial.attempt, rest, reason, "", worker.identity)
        self._call(worker, tell)

    # What the time is spent on.

    def _in_vain(self, worker: SimulatedWorker, why: str) -> None:
        """Writes off what a worker was training, or has trained and not told."""
        if (attempt := worker.attempt) is not None:
            self.tally.wasted[why] += attempt.steps_by(self.now)
            self._turn_to(worker, Doing.WAITING, wasted=True)
        elif (attempt := worker.untold) is not None:
            self.tally.wasted[why] += attempt.trial.steps
            self.tally.seconds["trained"] -= attempt.seconds
            self.tally.seconds["in vain"] += attempt.seconds
            self._tell(worker, None)

    def _tell(self, worker: SimulatedWorker, untold: Attempt | None) -> None:
        """Notes what a worker has to tell; None once the store knows, or nobody ever will."""
        self._untold += (untold is not None) - (worker.untold is not None)
        worker.untold = untold
        if untold is not None:
            self._turn_to(worker, Doing.WAITING)

    def _turn_to(self, worker: SimulatedWorker, doing: Doing, *, wasted: bool = False) -> None:
        names = {Doing.AWAY: "away", Doing.WAITING: "waited", Doing.TRAINING: "in vain" if wasted else "trained"}
        if worker.present or worker.doing is not Doing.AWAY:
            self.tally.seconds[names[worker.doing]] += self.now - worker.since
        self._training += (doing is Doing.TRAINING) - (worker.doing is Doing.TRAINING)
        worker.doing, worker.since = doing, self.now
        if doing is not Doing.TRAINING:
            worker.attempt = None

    def _still_waiting(self) -> bool:
        return any(worker.life == life for worker, life in self._waiting)

    def _look_for_an_end(self) -> None:
        idle = not self._training + self._untold and not self._heartbeats.any_dead
        if idle and self.now - self._last_start > _STUCK:
            self._refuse_to_wait()

    def _refuse_to_wait(self) -> None:
        raise StudyFailed(
            f"study '{self._study.name}': all workers wait at {self.now:g} virtual seconds, and none has anything to train; "
            f"does strategy '{self._study.evolution.strategy}' wait for what can't happen?"
        )


def checkpoint_of(trial: Trial) -> str:
    """The name under which an attempt's checkpoint is recorded."""
    return f"checkpoints/{trial.number:06d}.{trial.attempt}"
