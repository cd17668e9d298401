"""The life of a study as a state machine: whatever workers do, in whatever order, what always holds does hold."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broodline.client import Answer, Asker, Done, Start, Wait
from broodline.controller import Controller
from broodline.definition import parse
from broodline.errors import LeaseLost
from broodline.model import Measurement, Study, Trial, TrialState
from broodline.stores import Store
from broodline.stores.sqlite import SqliteStore

LEASE, MAX_LOST = 10.0, 3
WORKERS = st.integers(min_value=0, max_value=4)
SCORES = st.one_of(st.integers(min_value=0, max_value=3).map(float), st.just(float("nan")))


class Clock:
    """A clock that moves when it is told to."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def study_of(*, strategy: str, population: int, trials: int) -> Study:
    return parse(
        {
            "name": "life",
            "trial_steps": 10,
            "population": population,
            "objective": {"score": "maximize"},
            "space": {"lr": {"float": [1e-3, 1.0], "log": True}, "kind": {"choice": ["a", "b"]}},
            "evolution": {"strategy": strategy} | ({"parents": 1} if strategy == "generational" else {}),
            "budget": {"trials": trials},
            "engine": {"lease": LEASE, "max_lost": MAX_LOST},
            "train": {"max_failures": 10**6},
        },
        "test",
    )


class LifeOfAStudy(RuleBasedStateMachine):
    """Workers 0 to 4 against one study; the machine remembers what they were given and what was acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.sessions: Counter[int] = Counter()
        self.held: dict[int, Trial] = {}  # what each worker believes that it holds
        self.past: list[tuple[Trial, Asker]] = []  # every lease that there ever was
        self.acknowledged: dict[int, Trial] = {}
        self.on_disk: set[str] = set()
        self.damaged: set[int] = set()

    def open_store(self) -> Store:
        raise NotImplementedError

    @initialize(
        strategy=st.sampled_from(["initiator", "generational", "none"]),
        population=st.integers(min_value=2, max_value=5),
        trials=st.integers(min_value=1, max_value=40),
    )
    def begin(self, strategy: str, population: int, trials: int) -> None:
        self.store = self.open_store()
        self.study = study_of(strategy=strategy, population=population, trials=trials)
        self.controller.open(self.study)

    @property
    def controller(self) -> Controller:
        return Controller(self.store)  # a new one every time: it keeps nothing

    def asker(self, worker: int) -> Asker:
        return Asker(worker=str(worker), session=f"{worker}/{self.sessions[worker]}")

    def take(self, worker: int, answer: Answer) -> None:
        self.on_disk -= set(answer.sweep)
        self.held.pop(worker, None)
        if isinstance(answer, Start):
            self.held[worker] = answer.trial
            self.past.append((answer.trial, self.asker(worker)))
            if answer.trial.parent in self.damaged and answer.restore is None:
                self._tell_of_damage(worker, answer.trial)
            else:
                assert answer.trial.parent is None or answer.restore in self.on_disk, "a child without its parent's checkpoint"
        assert isinstance(answer, Start | Wait | Done)

    def _tell_of_damage(self, worker: int, trial: Trial) -> None:
        assert trial.parent is not None
        answer = self.controller.damaged("life", trial.number, trial.attempt, trial.parent, self.asker(worker))
        assert isinstance(answer, Start)
        assert answer.trial.number == trial.number
        assert answer.trial.parent != trial.parent
        assert answer.trial.damaged is not None
        self.take(worker, answer)

    @rule(worker=WORKERS)
    def ask(self, worker: int) -> None:
        before = self.held.get(worker)
        self.take(worker, self.controller.ask("life", self.asker(worker)))
        after = self.held.get(worker)
        if before is not None and self._lives(before):
            assert after is not None
            assert (after.number, after.attempt) == (before.number, before.attempt), "asked twice, and got another trial"

    @precondition(lambda self: self.held)
    @rule(data=st.data(), score=SCORES)
    def complete(self, data: st.DataObject, score: float) -> None:
        worker = data.draw(st.sampled_from(sorted(self.held)))
        self._complete(worker, self.held[worker], self.asker(worker), score)

    @precondition(lambda self: self.past)
    @rule(data=st.data(), score=SCORES)
    def complete_late_or_again(self, data: st.DataObject, score: float) -> None:
        """Somebody speaks for a lease of long ago: by a worker that was believed dead, or whose answer was lost."""
        trial, asker = data.draw(st.sampled_from(self.past))
        before = self._trials()
        worker = int(asker.worker)
        if asker != self.asker(worker) or self.held.get(worker) not in (None, trial):
            return  # that life of the worker is over, or busy with something else
        was = before[trial.number]
        self._complete(worker, trial, asker, score)
        if was.state.finished or was.attempt != trial.attempt:
            now = self._trials()[trial.number]
            assert (now.state, now.attempt, now.metrics, now.fitness) == (was.state, was.attempt, was.metrics, was.fitness)

    def _complete(self, worker: int, trial: Trial, asker: Asker, score: float) -> None:
        checkpoint = f"checkpoints/{trial.number:06d}.{trial.attempt}"
        measured = [Measurement(step=trial.end, metrics={"score": score})]
        self.on_disk.add(checkpoint)
        try:
            answer = self.controller.complete("life", trial.number, trial.attempt, measured, checkpoint, asker)
        except LeaseLost:
            if not any(each.checkpoint == checkpoint for each in self._trials().values()):
                self.on_disk.discard(checkpoint)
            self.held.pop(worker, None)
            return
        told = self._trials()[trial.number]
        if told.state is TrialState.COMPLETED:
            self.acknowledged.setdefault(told.number, told)
        self.take(worker, answer)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), early=st.booleans())
    def fail_or_stop(self, data: st.DataObject, early: bool) -> None:
        worker = data.draw(st.sampled_from(sorted(self.held)))
        trial, asker = self.held[worker], self.asker(worker)
        try:
            if early:
                answer = self.controller.stop("life", trial.number, trial.attempt, [], asker)
            else:
                answer = self.controller.fail("life", trial.number, trial.attempt, [], "exit status 3", "", asker)
        except LeaseLost:
            self.held.pop(worker)
        else:
            self.take(worker, answer)

    @rule(worker=WORKERS)
    def say_goodbye(self, worker: int) -> None:
        self.controller.release("life", [self.asker(worker).session])
        self.held.pop(worker, None)

    @rule(worker=WORKERS)
    def die_and_come_back(self, worker: int) -> None:
        self.sessions[worker] += 1
        self.held.pop(worker, None)

    @rule(worker=WORKERS)
    def be_found_dead(self, worker: int) -> None:
        self.controller.release("life", [self.asker(worker).session], lost=True)
        self.die_and_come_back(worker)

    @rule(seconds=st.sampled_from([1.0, LEASE / 2, 2 * LEASE]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def renew(self) -> None:
        self.controller.renew("life", [self.asker(worker).session for worker in self.held])

    @rule(worker=WORKERS)
    def crash_in_a_transaction(self, worker: int) -> None:
        before = self._trials()
        try:
            with self.store.transaction("life") as transaction:
                for trial in transaction.unfinished():
                    transaction.update(trial.evolve(lost=trial.lost + 1))
                raise RuntimeError("crash")
        except RuntimeError:
            assert self._trials() == before

    @rule(more=st.integers(min_value=1, max_value=20))
    def extend(self, more: int) -> None:
        budget = self.study.budget
        assert budget.trials is not None
        self.study = study_of(
            strategy=self.study.evolution.strategy, population=self.study.population, trials=budget.trials + more
        )
        self.controller.open(self.study)

    @rule(worker=WORKERS)
    def find_a_checkpoint_damaged(self, worker: int) -> None:
        trial = self.held.get(worker)
        if trial is None or trial.parent is None or not self._lives(trial):
            return
        parent = self._trials()[trial.parent]
        self.on_disk.discard(parent.checkpoint or "")
        self.damaged.add(parent.number)
        self._tell_of_damage(worker, trial)

    @invariant()
    def acknowledged_trials_never_change(self) -> None:
        trials = self._trials() if hasattr(self, "store") else {}
        for number, told in self.acknowledged.items():
            now = trials[number]
            assert now.evolve(checkpoint=None, child=None, kept=False) == told.evolve(checkpoint=None, child=None, kept=False)

    @invariant()
    def records_are_consistent(self) -> None:
        if not hasattr(self, "store"):
            return
        trials = self._trials()
        assert list(trials) == list(range(len(trials)))
        assert len({(trial.member, trial.generation) for trial in trials.values()}) == len(trials)
        running = [trial for trial in trials.values() if trial.state is TrialState.RUNNING]
        assert len({trial.worker for trial in running}) == len(running)
        for trial in trials.values():
            assert self.study.space.problems(trial.params) == []
            assert trial.lost <= MAX_LOST
            self._check_birth(trial, trials)
        with self.store.snapshot("life") as records:
            progress = records.progress()
        finished = [trial for trial in trials.values() if trial.state.finished]
        assert progress.trials == len(trials)
        assert progress.trials <= (self.study.budget.trials or 0)
        assert progress.finished == len(finished)
        assert progress.completed == sum(trial.state is TrialState.COMPLETED for trial in finished)
        assert progress.steps == sum(trial.steps for trial in trials.values())

    def _check_birth(self, trial: Trial, trials: dict[int, Trial]) -> None:
        parent = None if trial.parent is None else trials[trial.parent]
        assert trial.start == (0 if parent is None else parent.end)
        assert parent is None or parent.state is TrialState.COMPLETED
        if trial.initiator is None:
            assert trial.generation == 0
        else:
            initiator = trials[trial.initiator]
            assert initiator.child == trial.number
            assert initiator.state.finished
            assert (trial.member, trial.generation) == (initiator.member, initiator.generation + 1)

    @invariant()
    def needed_checkpoints_are_there_and_no_others(self) -> None:
        if not hasattr(self, "store"):
            return
        trials = self._trials()
        recorded = {trial.checkpoint for trial in trials.values() if trial.checkpoint}
        assert recorded <= self.on_disk, "a recorded checkpoint was swept"
        in_use = {trial.parent for trial in trials.values() if not trial.state.finished and trial.parent is not None}
        completed = sorted((t for t in trials.values() if t.state is TrialState.COMPLETED), key=lambda t: -t.generation)
        best = min(completed, key=lambda t: (-(t.fitness or (0.0,))[0], t.number), default=None)
        for member in range(self.study.population):
            for trial in [t for t in completed if t.member == member][:2]:
                assert trial.checkpoint or trial.number in self.damaged, "an opponent's checkpoint was swept"
        for number in in_use:
            assert trials[number].checkpoint or number in self.damaged, "a parent's checkpoint was swept"
        assert best is None or best.checkpoint or best.number in self.damaged
        assert len(recorded) <= 2 * self.study.population + len(in_use) + 1

    def _trials(self) -> dict[int, Trial]:
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
TestInMemory.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestInAFile = InAFile.TestCase
TestInAFile.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
