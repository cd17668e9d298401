"""Observers of a run: each finished trial once, in order of finishing, from a real store."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from recorded import Recorded, identity, recorded
from sqlalchemy.engine import Engine

from broodline.config.study import parse
from broodline.core.trial import Measurement, Trial, TrialState
from broodline.errors import StoreUnavailable
from broodline.reports.feed import FinishedTrials
from broodline.reports.observer import Every, Observation, observing
from broodline.storage.base import Store
from broodline.storage.location import StudyLocation
from broodline.storage.sqlite.store import SqliteStore
from broodline.studies.run import run
from broodline.studies.trainer import setup_for
from broodline.workers.running_trial import RunningTrial


class Diary:
    """An observer that writes down its calls."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    @property
    def finished(self) -> list[int]:
        return [call.number for call in self.calls if isinstance(call, Trial)]

    def trial_finished(self, trial: Trial) -> None:
        self.calls.append(trial)

    def refresh(self) -> None:
        self.calls.append("refresh")

    def end(self) -> None:
        self.calls.append("end")


class Failing(Diary):
    """An observer that raises when it is closed."""

    def end(self) -> None:
        super().end()
        raise RuntimeError("the tracker is gone")


@pytest.fixture
def store() -> Iterator[Store]:
    ticks = itertools.count(1_000_000)
    with closing(SqliteStore(None, clock=lambda: float(next(ticks)))) as store:
        yield store


@pytest.fixture
def study(store: Store) -> Recorded:
    return recorded(store)


def newly_finished(feed: FinishedTrials, study: Recorded) -> list[int]:
    with study.store.snapshot(study.name) as records:
        return [trial.number for trial in feed.newly_finished(records)]


def feed_of(study: Recorded) -> FinishedTrials:
    with study.store.snapshot(study.name) as records:
        return FinishedTrials(records)


# The feed


def test_each_trial_is_fed_once_in_order_of_finishing(study: Recorded) -> None:
    feed = feed_of(study)
    for worker in "012":
        study.ask(worker)
    study.complete({"accuracy": 0.5}, "2")
    study.complete({"accuracy": 0.5}, "0")
    assert newly_finished(feed, study) == [2, 0]
    assert newly_finished(feed, study) == []
    study.complete({"accuracy": 0.5}, "1")
    study.complete({"accuracy": 0.5}, "2")
    assert newly_finished(feed, study) == [1, 3]


def test_a_trial_is_fed_however_it_finished(store: Store) -> None:
    study = recorded(store, stopping={"rule": "median", "min_trials": 1})
    feed = feed_of(study)
    study.complete({"accuracy": 0.5})
    study.fail("exit status 1")
    trial = study.held("0")
    study.controller.report(study.name, trial.number, 1, [Measurement(step=trial.start + 1, metrics={"accuracy": 0.1})], 1)
    study.controller.stop(study.name, trial.number, 1, [], identity("0"))
    with store.snapshot(study.name) as records:
        states = [trial.state for trial in feed.newly_finished(records)]
    assert states == [TrialState.COMPLETED, TrialState.FAILED, TrialState.STOPPED]


def test_trials_that_finished_before_the_run_are_not_fed_and_those_that_were_running_are(study: Recorded) -> None:
    study.complete({"accuracy": 0.5})
    running = study.held("0").number
    feed = feed_of(study)
    assert newly_finished(feed, study) == []
    study.complete({"accuracy": 0.5})
    assert newly_finished(feed, study) == [running]


def test_a_trial_that_is_given_back_or_retried_is_fed_only_when_it_finishes(store: Store) -> None:
    study = recorded(store, train={"retries": 1})
    feed = feed_of(study)
    study.ask()
    study.controller.release(study.name, ["session of 0"])
    study.answers.clear()
    study.fail("exit status 1")
    assert newly_finished(feed, study) == []
    study.answers.clear()
    study.complete({"accuracy": 0.5})
    assert newly_finished(feed, study) == [0]


def test_a_look_costs_the_same_in_a_long_study(study: Recorded) -> None:
    costs = []
    for length in (5, 80):
        while study.held("0").number < length:
            study.complete({"accuracy": 0.5})
        feed = feed_of(study)
        with counted_statements() as idle:
            assert newly_finished(feed, study) == []
        study.complete({"accuracy": 0.5})
        with counted_statements() as one_more:
            assert newly_finished(feed, study) == [length]
        costs.append((len(idle), len(one_more)))
    assert costs[0] == costs[1]
    assert costs[0][0] < costs[0][1] < 6


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """The queries of a block."""
    statements: list[str] = []

    def add(*event: Any) -> None:
        if event[2].startswith("SELECT"):
            statements.append(event[2])

    sa.event.listen(Engine, "before_cursor_execute", add)
    try:
        yield statements
    finally:
        sa.event.remove(Engine, "before_cursor_execute", add)


# Observing


def test_every_observer_receives_all_finished_trials_before_it_is_ended(study: Recorded) -> None:
    diaries = [Diary(), Diary()]
    with observing(study.store, study.name, diaries) as observation:
        study.complete({"accuracy": 0.5})
        observation.report_finished()
        study.complete({"accuracy": 0.5})  # after the last look
    for diary in diaries:
        assert diary.finished == [0, 1]
        assert diary.calls[-1] == "end"


def test_observers_are_refreshed_at_each_call(study: Recorded) -> None:
    diary = Diary()
    with observing(study.store, study.name, [diary]) as observation:
        observation.refresh()
        observation.refresh()
    assert diary.calls == ["refresh", "refresh", "end"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_or_an_interrupt_still_reports_the_last_trials_and_ends_observers(
    study: Recorded, error: type[BaseException]
) -> None:
    diary = Diary()

    def interrupted_run() -> None:
        with observing(study.store, study.name, [diary]):
            study.complete({"accuracy": 0.5})
            raise error

    with pytest.raises(error):
        interrupted_run()
    assert diary.finished == [0]
    assert diary.calls[-1] == "end"


def test_an_observer_that_fails_to_end_keeps_no_other_from_ending(study: Recorded) -> None:
    diaries = [Diary(), Failing(), Diary()]
    with pytest.raises(RuntimeError, match="the tracker is gone"), observing(study.store, study.name, diaries):
        pass
    assert [diary.calls for diary in diaries] == [["end"]] * 3


def test_trials_that_finish_while_the_store_does_not_answer_are_reported_later(
    study: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    diary = Diary()
    observation = Observation(study.store, study.name, [diary])
    study.complete({"accuracy": 0.5})

    def locked(_name: str) -> None:
        raise StoreUnavailable("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(study.store, "snapshot", locked)
        observation.report_finished()
    assert diary.finished == []
    observation.report_finished()
    assert diary.finished == [0]


def test_work_is_due_once_an_interval() -> None:
    assert [Every(60).due(), Every(60, wait=True).due(), Every(0, wait=True).due()] == [True, False, True]
    hourly = Every(3600)
    assert [hourly.due(), hourly.due()] == [True, False]


# A real run


def train(trial: RunningTrial) -> dict[str, Any]:
    weights = json.loads((trial.restore_from / "weights").read_text()) if trial.restore_from else 0.0
    (trial.save_to / "weights").write_text(json.dumps(weights + trial.params["lr"]))
    return {"score": weights + trial.params["lr"]}


def test_an_observer_of_a_run_sees_the_trials_of_all_workers_once_each_and_a_resumed_run_only_the_new_ones(
    tmp_path: Path,
) -> None:
    seen = []
    for trials in (6, 9):
        diary = Diary()
        document = {"space": {"lr": {"float": [0.0, 1.0]}}, "objective": {"score": "maximize"}, "budget": {"trials": trials}}
        run(
            parse({"name": "s", "trial_steps": 1, "population": 3, **document}, "test"),
            location=StudyLocation(url=f"sqlite:///{tmp_path / 'broodline.db'}"),
            setup=setup_for(train),
            workers=2,
            show=False,
            observers=[diary],
        )
        seen.append(diary)
    assert [sorted(diary.finished) for diary in seen] == [[0, 1, 2, 3, 4, 5], [6, 7, 8]]
    for diary in seen:
        times = [call.finished or 0.0 for call in diary.calls if isinstance(call, Trial)]
        assert times == sorted(times)
        assert "refresh" in diary.calls
        assert diary.calls.index("end") == len(diary.calls) - 1
