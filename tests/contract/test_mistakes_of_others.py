"""What other implementations of population based training got wrong, one fact a test.

For each of them `tests/mutants/` has a patch that makes the mistake; `tests/mutants.py` requires that a test fails then.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from recorded import Recorded, identity, recorded

from broodline.controller.client import Answer, Start, Wait, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.lineage import lineage_of
from broodline.core.population import StudyState
from broodline.core.schedule import schedule_of
from broodline.core.trial import Measurement, Trial, TrialState
from broodline.storage.base import Store
from broodline.storage.checkpoints.local import LocalCheckpointStore
from broodline.storage.location import files_in, open_store
from broodline.storage.urls import IN_MEMORY
from broodline.workers.running_trial import RunningTrial
from broodline.workers.trainers.function import FunctionTrainer
from broodline.workers.worker import Worker

Learner = Callable[[Trial, float], float | None]
"""Trains a trial whose parent's weights are a number: the new weights, which are its score too; None: its program failed."""


@pytest.fixture
def store() -> Iterator[Store]:
    with closing(open_store(IN_MEMORY)) as opened:
        yield opened


def learns(trial: Trial, before: float) -> float:
    """Learns the more, the nearer the learning rate is to 0.01."""
    return before + 1 / (1 + abs(math.log10(trial.params["lr"]) + 2))


def ignores(trial: Trial, before: float) -> float:
    return before


@dataclass
class Played:
    """A study that workers without processes train: which of them ends its trial next is drawn."""

    study: Recorded
    train: Learner
    workers: int
    order: Random
    weights: dict[int, float | None] = field(default_factory=dict)
    waits: int = 0

    def to_the_end(self) -> list[Trial]:
        """Trains until no worker gets a trial any more; returns all trials."""
        while self.one():
            assert len(self.weights) <= 2000, "the study does not end"
        return self.trials()

    def one(self) -> bool:
        """Ends one trial; False if nobody holds any."""
        names = [name for name in map(str, range(self.workers)) if self._holds(name)]
        if not names:
            return False
        name = self.order.choice(names)
        trial = self.study.held(name)
        before = 0.0 if trial.parent is None else self.weights[trial.parent]
        assert before is not None, f"trial {trial.number} starts from the weights of trial {trial.parent}, which failed"
        assert trial.number not in self.weights, f"trial {trial.number} is trained again"
        self.weights[trial.number] = after = self.train(trial, before)
        if after is None:
            self.study.fail("it crashed", name)
        else:
            self.study.complete({"accuracy": after}, name)
        return True

    def trials(self) -> list[Trial]:
        with self.study.store.snapshot(self.study.name) as records:
            return list(records.trials())

    def _holds(self, name: str) -> bool:
        if not isinstance(self.study.answers.get(name), Start):
            self.study.answers[name] = self.study.controller.ask(self.study.name, identity(name))
            self.waits += isinstance(self.study.answers[name], Wait)
        return isinstance(self.study.answers[name], Start)


def playing(store: Store, train: Learner = learns, *, workers: int = 1, order: int = 0, **changes: Any) -> Played:
    return Played(recorded(store, **changes), train, workers, Random(order))


def played(store: Store, train: Learner = learns, *, workers: int = 1, order: int = 0, **changes: Any) -> list[Trial]:
    return playing(store, train, workers=workers, order=order, **changes).to_the_end()


def decisions(trials: list[Trial]) -> list[tuple[Any, ...]]:
    """What was decided of each trial, and what came of it."""
    return [
        (t.number, t.member, t.generation, dict(t.params), t.seed, t.parent, t.initiator, t.opponent, t.fitness) for t in trials
    ]


def exploits(trials: list[Trial]) -> list[Trial]:
    """The trials that start from another member's weights."""
    return [trial for trial in trials if trial.parent is not None and trials[trial.parent].member != trial.member]


# The population


def test_a_population_larger_than_its_workers_keeps_its_size_and_its_members_are_of_one_age(store: Store) -> None:
    trials = played(store, population=8, workers=1, budget={"trials": 64})
    assert [(trial.generation, trial.member) for trial in trials[:8]] == [(0, member) for member in range(8)]
    assert [trial.generation for trial in trials] == [number // 8 for number in range(64)]
    assert Counter(trial.member for trial in trials) == dict.fromkeys(range(8), 8)


def test_two_workers_train_a_population_of_eight_as_one_and_not_as_pairs(store: Store) -> None:
    trials = played(store, workers=2, population=8, budget={"trials": 400})
    met = {(trial.member, trials[trial.opponent].member) for trial in trials if trial.opponent is not None}
    assert len(met) > 50  # of 56
    assert Counter(trial.generation for trial in trials if trial.generation < 40) == dict.fromkeys(range(40), 8)


@pytest.mark.parametrize("seed", range(10))
def test_a_population_of_two_that_begins_with_a_tie_exploits(store: Store, seed: int) -> None:
    # The toy of the paper on PBT: each member can move only one of two coordinates at a time, and both score the same at first.
    places: dict[int | None, tuple[float, float]] = {None: (0.9, 0.9)}

    def toy(trial: Trial, _: float) -> float:
        x, y = places[trial.parent]
        places[trial.number] = x, y = (x * 0.9, y) if trial.params["moves"] == "x" else (x, y * 0.9)
        return 1.2 - x * x - y * y

    space = {"moves": {"choice": ["x", "y"]}}
    trials = played(store, toy, workers=2, population=2, seed=seed, space=space, budget={"trials": 80})
    assert trials[0].fitness == pytest.approx(trials[1].fitness)
    assert exploits(trials)


def test_a_diverged_member_starts_again_from_another(store: Store) -> None:
    def diverges(trial: Trial, before: float) -> float:
        return math.nan if trial.number in (0, 1, 2, 4, 5, 7) else before + 1  # NaN stays NaN: NaN + 1 is NaN

    trials = played(store, diverges, workers=3, population=8, budget={"trials": 40})
    assert Counter(trial.state for trial in trials) == {TrialState.FAILED: 6, TrialState.COMPLETED: 34}
    last = {trial.member: trial for trial in trials}
    assert all(trial.fitness is not None and math.isfinite(trial.fitness[0]) for trial in last.values())
    assert all(trial.opponent not in (0, 1, 2, 4, 5, 7) for trial in trials)


def test_trials_that_fail_do_not_shrink_the_population(store: Store) -> None:
    chance = Random(0)

    def fails(trial: Trial, before: float) -> float | None:
        return None if trial.number and chance.random() < 0.4 else learns(trial, before)

    trials = played(store, fails, workers=3, population=8, budget={"trials": 160})
    assert Counter(trial.generation for trial in trials if trial.generation < 15) == dict.fromkeys(range(15), 8)
    assert sum(trial.state is TrialState.FAILED for trial in trials) > 40


def test_a_study_in_which_all_trials_fail_has_failed(store: Store) -> None:
    study = playing(store, lambda _trial, _before: None, workers=3, population=8, budget={"trials": 100})
    assert len(study.to_the_end()) < 10
    with store.snapshot(study.study.name) as records:
        assert records.progress().state is StudyState.FAILED
        assert "it crashed" in str(records.progress().reason)


def test_who_wins_depends_neither_on_the_sign_of_the_scores_nor_on_their_offset() -> None:
    def shifted(by: float) -> list[Any]:
        chance = Random(1)
        with closing(open_store(IN_MEMORY)) as store:
            trials = played(store, lambda _trial, _before: by + chance.randrange(100), population=6, budget={"trials": 120})
            return [trial.parent for trial in trials]

    assert shifted(0) == shifted(-50) == shifted(-1000) == shifted(1e6)


def test_the_parent_is_the_very_trial_that_won_the_comparison(store: Store) -> None:
    trials = played(store, workers=3, population=6, budget={"trials": 300})
    for child in trials[6:]:
        assert child.initiator is not None
        assert child.opponent is not None
        initiator, opponent = trials[child.initiator], trials[child.opponent]
        assert initiator.fitness is not None
        assert opponent.fitness is not None
        assert child.parent == (opponent if opponent.fitness > initiator.fitness else initiator).number
    assert len(exploits(trials)) > 50


# Decisions


def test_decisions_survive_the_death_of_the_controller_between_any_two_calls(tmp_path: Path) -> None:
    with closing(open_store(f"sqlite:///{tmp_path / 'lives.db'}")) as store:
        lives = played(store, workers=3, population=4, budget={"trials": 40})
    url = f"sqlite:///{tmp_path / 'dies.db'}"
    with closing(open_store(url)) as first:
        dies = playing(first, workers=3, population=4, budget={"trials": 40})
    going = True
    while going:
        with closing(open_store(url)) as store:
            dies.study.store = store
            going, trials = dies.one(), dies.trials()
    assert decisions(trials) == decisions(lives)


def test_an_answer_that_never_arrived_is_given_again(store: Store) -> None:
    study = recorded(store, population=2, budget={"trials": 8})
    study.complete({"accuracy": 1.0})
    lost = study.answers.pop("0")
    assert isinstance(lost, Start)
    assert study.ask().evolve(lease_until=None) == lost.trial.evolve(lease_until=None)
    again = study.controller.ask(study.name, WorkerSession(worker="0", session="its next life"))
    assert isinstance(again, Start)
    assert (again.trial.number, again.trial.params, again.trial.attempt) == (lost.trial.number, lost.trial.params, 2)


def test_the_same_asks_and_completions_give_the_same_trials_whatever_the_global_random_numbers() -> None:
    told = []
    for seed in (1, 2):
        random.seed(seed)
        before = random.getstate()
        with closing(open_store(IN_MEMORY)) as store:
            told.append(decisions(played(store, workers=3, population=5, budget={"trials": 60})))
        assert random.getstate() == before
    assert told[0] == told[1]


def test_a_study_that_is_gone_on_with_trains_no_finished_trial_again(tmp_path: Path) -> None:
    with closing(open_store(IN_MEMORY)) as store:
        uninterrupted = played(store, population=4, budget={"trials": 60})
    url = f"sqlite:///{tmp_path / 'broodline.db'}"
    with closing(open_store(url)) as store:
        study = playing(store, population=4, budget={"trials": 60})
    for trained in range(7, 61, 7):
        with closing(open_store(url)) as store:
            study.study = recorded(store, population=4, budget={"trials": 60})
            while len(study.weights) < trained:
                assert study.one()  # which fails if a trial is trained for the second time
            store_trials = study.trials()
        assert sum(trial.state.finished for trial in store_trials) == trained
    with closing(open_store(url)) as store:
        study.study = recorded(store, population=4, budget={"trials": 60})
        assert decisions(study.to_the_end()) == decisions(uninterrupted)


# Waiting


@pytest.mark.parametrize("workers", [2, 4])
def test_no_worker_waits_while_there_is_budget(store: Store, workers: int) -> None:
    study = playing(store, workers=workers, population=4, budget={"trials": 10_000})
    for _ in range(200):
        study.one()
    assert study.waits == 0


def test_a_waiting_worker_is_told_as_soon_as_there_is_something_to_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'broodline.db'}"
    with closing(open_store(url)) as one, closing(open_store(url)) as other:
        study = recorded(one, population=1)
        study.ask("0")
        controller = Controller(other)
        assert isinstance(controller.ask(study.name, identity("1")), Wait)
        goodbye = threading.Timer(0.1, study.controller.release, (study.name, [identity("0").session]))
        goodbye.start()
        began = time.monotonic()
        controller.wait(20)
        assert time.monotonic() - began < 5
        assert isinstance(controller.ask(study.name, identity("1")), Start)
        goodbye.join()


# The cost of a decision


@contextmanager
def counted(kind: str) -> Iterator[Callable[[], int]]:
    """Counts what all databases that are opened meanwhile are told or do."""
    count = 0

    def add(*_: object) -> None:
        nonlocal count
        count += 1

    def watch(connection: Any, _: object) -> None:
        connection.set_progress_handler(add, 1)  # each step of SQLite's own machine

    target, event, listener = {
        "statements": (sa.Engine, "before_cursor_execute", lambda *_: add()),
        "commits": (sa.Engine, "commit", lambda *_: add()),
        "steps": (sa.Pool, "connect", watch),
    }[kind]
    sa.event.listen(target, event, listener)
    try:
        yield lambda: count
    finally:
        sa.event.remove(target, event, listener)


def test_a_decision_late_in_a_study_reads_no_more_than_an_early_one() -> None:
    with counted("steps") as steps, closing(open_store(IN_MEMORY)) as store:
        study = playing(store, workers=3, population=5, budget={"trials": 10_000})
        cost = []
        for _ in range(8):
            before = steps()
            for _ in range(50):
                study.one()
            cost.append(steps() - before)
    assert cost[-1] < 1.2 * cost[1]


@pytest.mark.parametrize(("kind", "most"), [("commits", 1), ("statements", 20)])
def test_a_trial_of_many_params_and_measurements_costs_one_commit_and_few_statements(store: Store, kind: str, most: int) -> None:
    space = {f"p{index}": {"float": [0.0, 1.0]} for index in range(20)}
    study = recorded(store, population=4, space=space)
    for _ in range(30):
        study.complete({"accuracy": 0.5})
    trial = study.held("0")
    measured = [Measurement(step=trial.start + step, metrics={"accuracy": step / 30}) for step in range(1, 31)]
    with counted(kind) as count:
        study.controller.complete(study.name, trial.number, trial.attempt, measured, "checkpoints/x", identity("0"))
        assert 0 < count() <= most


# Checkpoints: their bytes are judged, not the database


def trains(trial: RunningTrial) -> dict[str, float]:
    """A program whose weights are the record of all that was ever done to them."""
    done = [] if trial.restore_from is None else json.loads((trial.restore_from / "weights").read_text())
    done.append([trial.number, trial.params])
    (trial.save_to / "weights").write_text(json.dumps(done))
    return {"accuracy": Random(trial.seed).random()}


def saves_nothing(trial: RunningTrial) -> dict[str, float]:
    return {"accuracy": 1.0}


def trained(store: Store, directory: Path, train: Callable[[RunningTrial], dict[str, float]], **changes: Any) -> list[Trial]:
    """A study that one worker trains to its end in this process; returns its trials."""
    study = recorded(store, **changes)
    files = files_in(directory)
    files.prepare()
    asker_ = WorkerSession(worker="0", session="only")
    Worker(client=study.controller, study=study.name, identity=asker_, files=files, trainer=FunctionTrainer(train)).run()
    with store.snapshot(study.name) as records:
        return list(records.trials())


KEEP_ALL = {"keep_all": True}


def weights_of(trial: Trial, directory: Path) -> list[Any]:
    weights: list[Any] = json.loads((directory / str(trial.checkpoint) / "weights").read_text())
    return weights


def test_a_child_has_the_weights_and_the_params_of_one_and_the_same_parent(store: Store, tmp_path: Path) -> None:
    never = {"mutate": 0.0}
    trials = trained(store, tmp_path, trains, population=5, budget={"trials": 60}, checkpoints=KEEP_ALL, evolution=never)
    assert len(exploits(trials)) > 10
    for child in trials[5:]:
        assert child.parent is not None
        inherited = weights_of(trials[child.parent], tmp_path)
        assert weights_of(child, tmp_path) == [*inherited, [child.number, inherited[-1][1]]]


def test_the_schedule_of_a_trial_is_what_its_weights_were_trained_with(store: Store, tmp_path: Path) -> None:
    trials = trained(store, tmp_path, trains, population=5, budget={"trials": 60}, checkpoints=KEEP_ALL)
    lengths = []
    for trial in trials:
        schedule = schedule_of(lineage_of(trial.number, trials.__getitem__))
        lengths.append(len(schedule.segments))
        trained_with = [params for _, params in weights_of(trial, tmp_path) for _ in range(trial.steps)]
        assert [schedule(step) for step in range(schedule.end)] == trained_with
    assert max(lengths) > 3


def test_a_function_that_never_saves_is_found_out_at_once(store: Store, tmp_path: Path) -> None:
    trials = trained(store, tmp_path, saves_nothing, population=4, budget={"trials": 80})
    assert len(trials) == 4
    assert {trial.state for trial in trials} == {TrialState.FAILED}
    assert all("no checkpoint" in str(trial.reason) for trial in trials)


def test_a_trial_without_a_checkpoint_is_nobodys_parent(store: Store) -> None:
    study = recorded(store, population=3, budget={"trials": 60})
    for _ in range(3):
        study.complete({"accuracy": 0.5})
    fittest = study.complete({"accuracy": 9.0})
    child = study.held("0")
    while child.parent != fittest.number:
        study.complete({"accuracy": 0.5})
        child = study.held("0")
    study.answers["0"] = study.controller.damaged(study.name, child.number, child.attempt, fittest.number, identity("0"))
    while isinstance(answer := study.answers["0"], Start):
        assert answer.trial.parent != fittest.number
        assert (answer.trial.parent is None) == (answer.restore is None)
        study.complete({"accuracy": 0.5})


@pytest.mark.parametrize("keep_best", [1, 3])
def test_a_checkpoint_is_deleted_when_nothing_needs_it_any_more_and_never_before(
    store: Store, tmp_path: Path, keep_best: int
) -> None:
    study = recorded(store, population=4, budget={"trials": 120}, checkpoints={"keep_best": keep_best})
    files, order, lives = LocalCheckpointStore(tmp_path), Random(keep_best), Counter[str]()
    files.prepare()
    held: dict[str, Start] = {}

    def life(worker: str) -> WorkerSession:
        return WorkerSession(worker=worker, session=f"life {lives[worker]} of {worker}")

    def hear(worker: str, answer: Answer) -> None:
        for checkpoint in answer.delete:
            shutil.rmtree(files.path(checkpoint))
        held.pop(worker, None)
        if isinstance(answer, Start):
            held[worker] = answer
        with store.snapshot(study.name) as records:
            candidates = [trial for member in range(4) for trial in records.last_completed(member)]
            needed = {trial.checkpoint for trial in (*candidates, *records.best(keep_best))}
        needed |= {start.restore for start in held.values() if start.restore}
        there = {files.open(str(checkpoint)) for checkpoint in needed}
        assert there == set(files.committed.iterdir())

    for worker in ("swift", "steady", "straggler"):
        hear(worker, study.controller.ask(study.name, life(worker)))
    while held:
        worker = order.choice([name for name in held for _ in range({"swift": 10, "steady": 3, "straggler": 1}[name])])
        if order.random() < 0.1:
            lives[worker] += 1  # it dies and comes back
            hear(worker, study.controller.ask(study.name, life(worker)))
            continue
        trial, restore = held[worker].trial, held[worker].restore
        if restore is not None:
            assert (files.open(restore) / "weights").read_text() == str(trial.parent)
        (files.begin(trial) / "weights").write_text(str(trial.number))
        measured = [Measurement(step=trial.start + 10, metrics={"accuracy": order.random()})]
        saved = files.commit(trial)
        hear(worker, study.controller.complete(study.name, trial.number, trial.attempt, measured, saved, life(worker)))
    with store.snapshot(study.name) as records:
        assert records.progress().finished == 120
