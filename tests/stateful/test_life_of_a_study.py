"""The life of a study as a state machine: whatever workers do, in whatever order, what always holds does hold."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from statistics import median

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from broodline.controller.client import Answer, Done, Signal, Start, Wait, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.study import Stopping, StudyConfig
from broodline.core.trial import Measurement, Trial, TrialState
from broodline.errors import LeaseLost
from broodline.storage.base import Store
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing import Crash, CrashingStore, FakeClock, Moment, check_invariants, checkpoint_of, study_from_tables

LEASE, MAX_LOST = 10.0, 3
WORKERS = st.integers(min_value=0, max_value=4)
SCORES = st.one_of(st.integers(min_value=0, max_value=3).map(float), st.just(float("nan")))
RULE = st.builds(
    Stopping, margin=st.sampled_from([0.0, 0.0, 1.0]), burn_in=st.sampled_from([0, 0, 4, 13]), min_trials=st.integers(1, 2)
)
RULES = st.one_of(RULE, RULE, st.none())
SETTINGS = settings(max_examples=25, stateful_step_count=60, deadline=None)

Call = Callable[[], Answer]


OPTIONS: dict[str, dict[str, float]] = {"initiator": {"crossover": 0.2}, "generational": {"parents": 1}, "random": {}}


def study_of(*, strategy: str, population: int, trials: int, retries: int = 0, stopping: Stopping | None = None) -> StudyConfig:
    return study_from_tables(
        **({} if stopping is None else {"stopping": asdict(stopping)}),
        name="life",
        population=population,
        evolution={"strategy": strategy, **OPTIONS[strategy]},
        budget={"trials": trials},
        engine={"lease": LEASE, "max_lost": MAX_LOST},
        train={"max_failures": 10**6, "retries": retries},
    )


def worst_if_nan(score: float) -> float:
    return -math.inf if math.isnan(score) else score


class LifeOfAStudy(RuleBasedStateMachine):
    """Workers 0 to 4 against one study; the machine remembers what they were given and what was acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.sessions: Counter[int] = Counter()
        self.held: dict[int, Trial] = {}  # what each worker believes that it holds
        self.past: list[tuple[Trial, WorkerSession]] = []  # every lease that there ever was
        self.told: dict[int, Call] = {}  # the last call of each worker that ended a trial
        self.acknowledged: dict[int, Trial] = {}
        self.on_disk: set[str] = set()
        self.damaged: set[int] = set()
        self.reports = count(1)
        self.measured: Counter[tuple[int, int]] = Counter()  # measurements of each attempt that were reported while it ran
        self.ended = False

    def open_store(self) -> Store:
        raise NotImplementedError

    @initialize(
        strategy=st.sampled_from(["initiator", "generational", "random"]),
        population=st.integers(min_value=2, max_value=5),
        trials=st.integers(min_value=1, max_value=40),
        retries=st.integers(min_value=0, max_value=1),
        stopping=RULES,
    )
    def begin(self, strategy: str, population: int, trials: int, retries: int, stopping: Stopping | None) -> None:
        self.store = self.open_store()
        self.study = study_of(strategy=strategy, population=population, trials=trials, retries=retries, stopping=stopping)
        self.controller.open(self.study)

    @property
    def controller(self) -> Controller:
        return Controller(self.store)  # a new one every time: it keeps nothing

    def identity(self, worker: int) -> WorkerSession:
        return WorkerSession(worker=str(worker), session=f"{worker}/{self.sessions[worker]}")

    def take(self, worker: int, answer: Answer) -> None:
        self.on_disk -= set(answer.delete)
        self.held.pop(worker, None)
        if isinstance(answer, Start):
            assert not self.ended, "a trial was given out, or back, after the study was ended"
            self.held[worker] = answer.trial
            self.past.append((answer.trial, self.identity(worker)))
            if answer.trial.parent in self.damaged and answer.restore is None:
                self._tell_of_damage(worker, answer.trial)
            else:
                assert answer.trial.parent is None or answer.restore in self.on_disk, "a child without its parent's checkpoint"
        assert isinstance(answer, Start | Wait | Done)

    def _tell_of_damage(self, worker: int, trial: Trial) -> None:
        assert trial.parent is not None
        answer = self.controller.damaged("life", trial.number, trial.attempt, trial.parent, self.identity(worker))
        assert isinstance(answer, Start)
        assert answer.trial.number == trial.number
        assert answer.trial.parent != trial.parent
        assert answer.trial.damaged is not None
        self.take(worker, answer)

    # What workers do

    @rule(worker=WORKERS, twice=st.booleans())
    def ask(self, worker: int, twice: bool) -> None:
        before = self.held.get(worker)
        lived = before is not None and self._lives(before) and not self.ended
        answer = self.controller.ask("life", self.identity(worker))
        if twice:  # the first answer was lost, but for what it said of checkpoints
            self.on_disk -= set(answer.delete)
            again = self.controller.ask("life", self.identity(worker))
            assert type(again) is type(answer)
            assert not (isinstance(again, Start) and isinstance(answer, Start)) or again.trial == answer.trial
            answer = again
        self.take(worker, answer)
        after = self.held.get(worker)
        if lived:
            assert before is not None
            assert after is not None
            assert (after.number, after.attempt) == (before.number, before.attempt), "asked twice, and got another trial"

    @precondition(lambda self: self.held)
    @rule(data=st.data(), score=SCORES)
    def complete(self, data: st.DataObject, score: float) -> None:
        worker = data.draw(st.sampled_from(sorted(self.held)))
        self._complete(worker, self.held[worker], score)

    @precondition(lambda self: self.past)
    @rule(data=st.data(), score=SCORES)
    def complete_late(self, data: st.DataObject, score: float) -> None:
        """A worker speaks for a lease of long ago, whatever it holds by now."""
        trial, identity = data.draw(st.sampled_from(self.past))
        worker = int(identity.worker)
        if identity != self.identity(worker):
            return  # that life of the worker is over
        was, held = self._trials()[trial.number], self.held.get(worker)
        lived = held is not None and held.number != trial.number and self._lives(held) and not self.ended
        self._complete(worker, trial, score)
        now = self._trials()[trial.number]
        if was.state.finished or was.attempt != trial.attempt:
            assert (now.state, now.attempt, now.metrics, now.fitness) == (was.state, was.attempt, was.metrics, was.fitness)
        if lived and held is not None and worker in self.held:
            assert self.held[worker].number == held.number, "was given another trial while it held one"

    def _complete(self, worker: int, trial: Trial, score: float) -> None:
        checkpoint, identity = checkpoint_of(trial), self.identity(worker)
        measured = [Measurement(step=trial.end, metrics={"score": score})]

        def call() -> Answer:
            return self.controller.complete("life", trial.number, trial.attempt, measured, checkpoint, identity)

        recorded = {each.checkpoint for each in self._trials().values()}
        self.on_disk.add(checkpoint)
        try:
            answer = call()
        except LeaseLost:
            if checkpoint not in recorded:
                self.on_disk.discard(checkpoint)
            self.held.pop(worker, None)
            return
        self.told[worker] = call
        told = self._trials()[trial.number]
        if told.state is TrialState.COMPLETED:
            self.acknowledged.setdefault(told.number, told)
        if checkpoint not in {each.checkpoint for each in self._trials().values()}:
            self.on_disk.discard(checkpoint)  # told again after it was swept
        self.take(worker, answer)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), early=st.booleans(), reported=st.booleans())
    def fail_or_stop(self, data: st.DataObject, early: bool, reported: bool) -> None:
        worker = data.draw(st.sampled_from(sorted(self.held)))
        trial, identity = self.held[worker], self.identity(worker)
        measured = [Measurement(step=trial.start + 3, metrics={"score": 1.0})] if reported else []

        def call() -> Answer:
            if early:
                return self.controller.stop("life", trial.number, trial.attempt, measured, identity)
            return self.controller.fail("life", trial.number, trial.attempt, measured, "exit status 3", "", identity)

        try:
            answer = call()
        except LeaseLost:
            self.held.pop(worker)
        else:
            self.told[worker] = call
            self.take(worker, answer)

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def tell_the_same_again(self, data: st.DataObject) -> None:
        """The answer was lost, so the worker makes the same call again; it has not moved on."""
        worker = data.draw(st.sampled_from(sorted(self.told)))
        held = self.held.get(worker)
        before, spent = self._trials(), self._finished()
        lives = held is not None and self._lives(held) and not self.ended
        try:
            answer = self.told[worker]()
        except LeaseLost:
            return  # the trial is tried again already
        assert self._finished() == spent, "told twice, and counted twice"
        self.take(worker, answer)
        if lives and held is not None:
            assert self._trials().keys() == before.keys()
            assert self.held[worker].number == held.number, "told twice, and answered with another trial"

    @precondition(lambda self: self.held)
    @rule(data=st.data(), step=st.integers(min_value=1, max_value=12), score=SCORES, obeys=st.booleans())
    def report(self, data: st.DataObject, step: int, score: float, obeys: bool) -> None:
        self._report(data.draw(st.sampled_from(sorted(self.held))), step, score, obeys)

    @rule(step=st.integers(min_value=1, max_value=12), scores=st.lists(SCORES, min_size=5, max_size=5), obeys=st.booleans())
    def all_ask_and_report(self, step: int, scores: list[float], obeys: bool) -> None:
        for worker in range(5):
            self.ask(worker, twice=False)
        for worker in sorted(self.held):
            if worker in self.held:
                self._report(worker, step, scores[worker], obeys)

    def _report(self, worker: int, step: int, score: float, obeys: bool) -> None:
        trial = self.held[worker]
        now = self._trials()[trial.number]
        measured = [Measurement(step=trial.start + step, metrics={"score": score})]
        index = next(self.reports)
        try:
            signal = self.controller.report("life", trial.number, trial.attempt, measured, index)
        except LeaseLost:
            assert now.attempt != trial.attempt or now.state.finished
            self.held.pop(worker)
            return
        assert (signal is Signal.RELEASE) == self.ended
        assert now.attempt == trial.attempt
        if now.state is TrialState.RUNNING and not self.ended:
            told_before = now.reason is not None
            assert (signal is Signal.STOP) == (told_before or self._is_hopeless(now, measured[0]))
        self.measured[trial.number, trial.attempt] += 1
        rows = self._trials()
        assert self.controller.report("life", trial.number, trial.attempt, measured, index) is signal
        assert self._trials() == rows, "reported twice, and saved twice"
        with self.store.snapshot("life") as records:
            assert len(records.measurements(trial.number, trial.attempt)) == self.measured[trial.number, trial.attempt]
        if signal is Signal.STOP and obeys:
            self._stop(worker, trial)

    def _is_hopeless(self, trial: Trial, measured: Measurement) -> bool:
        """What the rule says, from a look at all that was ever measured."""
        rule, step = self.study.stopping, measured.step
        if rule is None or not max(trial.start + 1, rule.burn_in) <= step < trial.start + self.study.trial_steps:
            return False
        started = sorted((other.start, number) for number, other in self._trials().items() if other.start < step)
        near = [self._trials()[number] for _, number in started[-2 * self.study.population :]]
        others = [score for other in near if (score := self._score_at(other, trial, step)) is not None]
        own = worst_if_nan(measured.metrics["score"])
        return len(others) >= rule.min_trials and own < median(others) - rule.margin

    def _score_at(self, other: Trial, trial: Trial, step: int) -> float | None:
        if other.number == trial.number or other.state is TrialState.FAILED:
            return None
        with self.store.snapshot("life") as records:
            measured = sorted(records.measurements(other.number, other.attempt), key=lambda each: each.step)
        before = [worst_if_nan(each.metrics["score"]) for each in measured if each.step <= step and "score" in each.metrics]
        return before[-1] if before and measured[-1].step >= step else None

    def _stop(self, worker: int, trial: Trial) -> None:
        def call() -> Answer:
            return self.controller.stop("life", trial.number, trial.attempt, [], self.identity(worker))

        answer = call()
        self.told[worker] = call
        assert self._trials()[trial.number].state is TrialState.STOPPED
        self.take(worker, answer)

    @rule(worker=WORKERS)
    def say_goodbye(self, worker: int) -> None:
        self.controller.release("life", [self.identity(worker).session])
        self.held.pop(worker, None)

    @rule(worker=WORKERS)
    def die_and_come_back(self, worker: int) -> None:
        self.sessions[worker] += 1
        self.held.pop(worker, None)
        self.told.pop(worker, None)

    @rule(worker=WORKERS)
    def be_found_dead(self, worker: int) -> None:
        self.controller.release("life", [self.identity(worker).session], lost=True)
        self.die_and_come_back(worker)

    @rule(seconds=st.sampled_from([1.0, LEASE / 2, 2 * LEASE]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def renew(self) -> None:
        self.controller.renew("life", [self.identity(worker).session for worker in self.held])

    @precondition(lambda self: self.held)
    @rule(data=st.data(), moment=st.sampled_from(Moment), score=SCORES)
    def crash_while_completing(self, data: st.DataObject, moment: Moment, score: float) -> None:
        """The controller dies; the worker waits for another, and tells it the same."""
        worker = data.draw(st.sampled_from(sorted(self.held)))
        trial, identity = self.held[worker], self.identity(worker)
        before = self._trials()
        measured = [Measurement(step=trial.end, metrics={"score": score})]
        dying = Controller(CrashingStore(self.store, moment))
        try:
            dying.complete("life", trial.number, trial.attempt, measured, checkpoint_of(trial), identity)
        except Crash:
            assert moment is Moment.AFTER_COMMIT or self._trials() == before
            self.on_disk.add(checkpoint_of(trial))
            self._forget_orphans()  # what was to be swept was told to nobody
        except LeaseLost:
            assert self._trials() == before
        self._complete(worker, trial, score)

    @rule(worker=WORKERS, moment=st.sampled_from(Moment))
    def crash_while_asking(self, worker: int, moment: Moment) -> None:
        before = self._trials()
        with pytest.raises(Crash):
            Controller(CrashingStore(self.store, moment)).ask("life", self.identity(worker))
        assert moment is Moment.AFTER_COMMIT or self._trials() == before
        self._forget_orphans()
        self.ask(worker, twice=False)

    @rule(worker=WORKERS)
    def find_a_checkpoint_damaged(self, worker: int) -> None:
        trial = self.held.get(worker)
        if trial is None or trial.parent is None or not self._lives(trial) or self.ended:
            return
        parent = self._trials()[trial.parent]
        self.on_disk.discard(parent.checkpoint or "")
        self.damaged.add(parent.number)
        self._tell_of_damage(worker, trial)

    # What users do

    @rule(more=st.integers(min_value=1, max_value=20))
    def extend(self, more: int) -> None:
        trials = (self.study.budget.trials or 0) + more
        self.study = study_of(
            strategy=self.study.evolution.strategy,
            population=self.study.population,
            trials=trials,
            retries=self.study.limits.retries,
            stopping=self.study.stopping,
        )
        self.controller.open(self.study)
        self.ended = False

    @rule()
    def end(self) -> None:
        self.controller.end("life", now=True, reason="enough")
        self.ended = True

    @rule(stopping=RULES)
    def change_the_rule(self, stopping: Stopping | None) -> None:
        if stopping is None or self.study.stopping is not None:  # scores that nobody asked for were not kept
            self.study = replace(self.study, stopping=stopping)
            self.controller.open(self.study)
            self.ended = False

    @precondition(lambda self: self.ended)
    @rule()
    def open_again(self) -> None:
        self.controller.open(self.study)
        self.ended = False

    # What always holds

    @invariant()
    def acknowledged_trials_never_change(self) -> None:
        trials = self._trials()
        for number, told in self.acknowledged.items():
            now = trials[number]
            assert now.evolve(checkpoint=None, child=None, kept=False) == told.evolve(checkpoint=None, child=None, kept=False)

    @invariant()
    def records_are_consistent(self) -> None:
        if hasattr(self, "store"):
            check_invariants(self.store, "life", damaged=self.damaged)

    @invariant()
    def recorded_checkpoints_are_there(self) -> None:
        recorded = {trial.checkpoint for trial in self._trials().values() if trial.checkpoint}
        assert recorded == self.on_disk, "what is recorded is not what is there"

    def _forget_orphans(self) -> None:
        self.on_disk &= {trial.checkpoint for trial in self._trials().values() if trial.checkpoint}

    def _finished(self) -> int:
        with self.store.snapshot("life") as records:
            return records.progress().finished

    def _trials(self) -> dict[int, Trial]:
        if not hasattr(self, "store"):
            return {}
        with self.store.snapshot("life") as records:
            return {trial.number: trial for trial in records.trials()}

    def _lives(self, trial: Trial) -> bool:
        now = self._trials()[trial.number]
        return now.state is TrialState.RUNNING and now.attempt == trial.attempt

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()


class InMemory(LifeOfAStudy):
    def open_store(self) -> Store:
        return SqliteStore(None, clock=self.clock)


class InAFile(LifeOfAStudy):
    def open_store(self) -> Store:
        self.directory = tempfile.TemporaryDirectory()
        return SqliteStore(Path(self.directory.name) / "life.db", clock=self.clock)

    @rule()
    def open_the_store_again(self) -> None:
        self.store.close()
        self.store = SqliteStore(Path(self.directory.name) / "life.db", clock=self.clock)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "directory"):
            self.directory.cleanup()


TestInMemory = InMemory.TestCase
TestInMemory.settings = SETTINGS
TestInAFile = InAFile.TestCase
TestInAFile.settings = settings(SETTINGS, max_examples=8, stateful_step_count=40)


@pytest.mark.soak
@pytest.mark.parametrize("life", [InMemory, InAFile])
def test_many_long_lives(life: type[LifeOfAStudy]) -> None:
    run_state_machine_as_test(life, settings=settings(SETTINGS, max_examples=1500, stateful_step_count=150))
