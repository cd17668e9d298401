"""The definition of a replay: its segments are the lineage, for every strategy and every kind of change."""

from __future__ import annotations

import json
from contextlib import closing
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import share_of_examples

from broodline.config.study import dump, parse
from broodline.controller.client import Start, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.lineage import lineage_of
from broodline.core.schedule import schedule_of
from broodline.core.study import StudyConfig
from broodline.core.trial import Measurement, Trial, TrialState
from broodline.errors import UsageError
from broodline.storage.sqlite.store import SqliteStore
from broodline.studies.replay import replay_of
from broodline.testing.invariants import check_invariants
from broodline.testing.playing import Crew, FakeClock, study_from_tables


class Overshooting(Crew):
    """Trials that overshoot by up to four steps. Trials of a replay train the requested steps."""

    def _tell(self, trial: Trial, metrics: Any, identity: WorkerSession) -> Any:
        if metrics is None:
            return super()._tell(trial, metrics, identity)
        more = Random(trial.number).randrange(5) if self.study == "played" else 0
        last = [Measurement(step=trial.end + more, metrics=metrics)]
        path = f"checkpoints/{trial.number:06d}.{trial.attempt}"
        return self.client.complete(self.study, trial.number, trial.attempt, last, path, identity)


def score(trial: Trial) -> dict[str, Any] | None:
    chance = Random(f"{trial.seed} {trial.start}")
    return None if chance.random() < 0.1 else {"score": chance.random()}


def source(seed: int, strategy: str) -> tuple[StudyConfig, dict[int, Trial]]:
    mutation = {"mutate": 0.8, "resample": 0.3}
    options = {"initiator": mutation | {"crossover": 0.2}, "generational": mutation | {"parents": 2}, "random": {}}
    study = study_from_tables(seed=seed, evolution={"strategy": strategy, **options[strategy]})
    with closing(SqliteStore(None, clock=FakeClock())) as store:
        controller = Controller(store)
        controller.open(study)
        Overshooting(client=controller, study="played", train=score, workers=3).run()
        with store.snapshot("played") as records:
            return study, {trial.number: trial for trial in records.trials()}


def trained_again(study: StudyConfig, workers: int = 2) -> list[Trial]:
    with closing(SqliteStore(None, clock=FakeClock())) as store:
        controller = Controller(store)
        controller.open(study)
        Overshooting(client=controller, study=study.name, train=lambda _: {"score": 1.0}, workers=workers).run()
        check_invariants(store, study.name)
        with store.snapshot(study.name) as records:
            return list(records.trials())


@share_of_examples(0.25)
@given(st.integers(0, 10**6), st.sampled_from(["initiator", "generational", "random"]), st.integers(1, 4))
def test_a_replay_has_the_schedule_of_its_source(seed: int, strategy: str, copies: int) -> None:
    study, trials = source(seed, strategy)
    completed = [trial for trial in trials.values() if trial.state is TrialState.COMPLETED]
    lineage = lineage_of(Random(seed).choice(completed).number, trials.get)
    again = replay_of(study, lineage, name="again", copies=copies)
    replayed = trained_again(again)
    for member in range(copies):
        own = [trial for trial in replayed if trial.member == member]
        assert schedule_of(own[::-1]) == schedule_of(lineage)
        assert [(trial.start, trial.steps, trial.params) for trial in own] == [
            (trial.start, trial.steps, trial.params) for trial in reversed(lineage)
        ]
        assert ([trial.seed for trial in own] == [trial.seed for trial in reversed(lineage)]) == (member == 0)
    assert len({trial.seed for trial in replayed}) == len(replayed)


def test_fresh_seeds_depend_on_copy_and_segment_and_not_on_the_speed_of_workers() -> None:
    again = replay_of(study_from_tables(), lineage_with(SGD, ADAM, SGD), name="again", copies=3, seeds="fresh", seed=7)
    alone, together = ({(t.member, t.generation): t.seed for t in trained_again(again, workers)} for workers in (1, 3))
    assert alone == together
    assert len(set(alone.values())) == 9


def test_the_definition_of_a_replay_survives_storage() -> None:
    study, trials = source(1, "initiator")
    lineage = lineage_of(next(t.number for t in reversed(trials.values()) if t.state is TrialState.COMPLETED), trials.get)
    again = replay_of(study, lineage, name="again", copies=2, only=["lr"], fixed={"width": [1, 2]})
    assert parse(json.loads(json.dumps(dump(again))), "store") == again


def lineage_with(*params: dict[str, Any]) -> list[Trial]:
    """A lineage with these hyperparameters, as `lineage_of` returns it."""
    trials = [
        Trial(number=index, member=0, generation=index, params=each, start=10 * index, steps=10, state=TrialState.COMPLETED)
        for index, each in enumerate(params)
    ]
    return trials[::-1]


SGD = {"lr": 0.1, "batch": 16, "optimizer": "sgd", "layers": 3, "width": 64, "momentum": 0.5}
ADAM = {name: value for name, value in {**SGD, "optimizer": "adam", "lr": 0.2}.items() if name != "momentum"}


def segments(*lineage: dict[str, Any], **wishes: Any) -> list[dict[str, Any]]:
    replay = replay_of(study_from_tables(), lineage_with(*lineage), name="again", **wishes).replay
    assert replay is not None
    return [dict(segment.params) for segment in replay.segments]


def test_a_parameter_exists_in_the_segments_where_its_condition_holds() -> None:
    assert segments(SGD, ADAM, SGD) == [SGD, ADAM, SGD]


def test_a_parameter_that_does_not_follow_keeps_its_first_value() -> None:
    assert segments(SGD, ADAM, only=["lr"]) == [SGD, {**SGD, "lr": 0.2}]
    assert segments(ADAM, {**SGD, "momentum": 0.7}, only=["optimizer"]) == [ADAM, {**SGD, "lr": 0.2, "momentum": 0.7}]


def test_a_parameter_that_a_fixed_one_makes_exist_needs_a_value() -> None:
    with pytest.raises(UsageError, match="momentum"):
        segments(ADAM, fixed={"optimizer": "sgd"})
    assert segments(ADAM, fixed={"optimizer": "sgd", "momentum": 0.9}) == [{**SGD, "lr": 0.2, "momentum": 0.9}]


def test_a_copy_that_resumes_an_older_checkpoint_retrains_the_lost_segments() -> None:
    study = replay_of(study_from_tables(), lineage_with(SGD, ADAM, {**SGD, "lr": 0.3}, SGD), name="again")
    with closing(SqliteStore(None, clock=FakeClock())) as store:
        controller, identity = Controller(store), WorkerSession(worker="0", session="a")
        controller.open(study)
        answer = controller.ask("again", identity)
        lost = False
        while isinstance(answer, Start):
            trial = answer.trial
            if trial.generation == 2 and not lost:
                lost = True
                answer = controller.damaged("again", trial.number, trial.attempt, 1, identity)
                continue
            measured = [Measurement(step=trial.end, metrics={"score": 1.0})]
            path = f"checkpoints/{trial.number:06d}.1"
            answer = controller.complete("again", trial.number, trial.attempt, measured, path, identity)
        check_invariants(store, "again")
        with store.snapshot("again") as records:
            trials = {trial.number: trial for trial in records.trials()}
    lineage = lineage_of(4, trials.get)
    assert [trial.params for trial in reversed(lineage)] == [SGD, ADAM, {**SGD, "lr": 0.3}, SGD]
    assert [trial.number for trial in lineage] == [4, 3, 2, 0]
    assert len(trials) == 5


@pytest.mark.parametrize("steps", [0, 5, 10, 15, 20, 30])
def test_a_program_that_trains_more_or_fewer_steps_trains_each_segment_once(steps: int) -> None:
    params = [SGD, ADAM, {**SGD, "lr": 0.3}, {**SGD, "lr": 0.4}]
    study = replay_of(study_from_tables(), lineage_with(*params), name="again")
    with closing(SqliteStore(None, clock=FakeClock())) as store:
        controller, identity = Controller(store), WorkerSession(worker="0", session="a")
        controller.open(study)
        answer = controller.ask("again", identity)
        while isinstance(answer, Start):
            trial = answer.trial
            measured = [Measurement(step=trial.start + steps, metrics={"score": 1.0})]
            path = f"checkpoints/{trial.number:06d}.1"
            answer = controller.complete("again", trial.number, trial.attempt, measured, path, identity)
        with store.snapshot("again") as records:
            assert [trial.params for trial in records.trials()] == params


def test_a_replay_that_an_earlier_version_stored_can_be_read() -> None:
    study = replay_of(study_from_tables(), lineage_with(SGD, ADAM), name="again")
    stored = dump(study)
    stored["replay"]["legs"] = stored["replay"].pop("segments")
    assert parse(stored, "store") == study
