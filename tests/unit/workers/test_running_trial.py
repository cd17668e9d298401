"""The trial that the user's own code holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from assignments import trial

from broodline.core.trial import Measurement, Trial
from broodline.errors import LeaseLost, Preempted, Stopped, TrialFailed
from broodline.workers.running_trial import RunningTrial, in_one_line
from broodline.workers.trainers.base import Assignment


def assigned(given: Trial, report: Callable[[Measurement], None] = lambda _: None) -> Assignment:
    return Assignment(
        trial=given,
        restore=Path("/parent"),
        save=Path("/save"),
        log=Path("/log"),
        worker="4",
        devices=("0",),
        report=report,
    )


def running(reported: list[Measurement], error: BaseException | None = None) -> RunningTrial:
    def report(measurement: Measurement) -> None:
        reported.append(measurement)
        if error is not None:
            raise error

    given = trial(7, params={"lr": 0.1}, start=20, steps=10, member=5, generation=2, attempt=3, seed=11)
    return RunningTrial(assigned(given, report))


def test_it_knows_all_that_training_needs() -> None:
    held = running([])
    assert (held.params, held.restore_from, held.save_to) == ({"lr": 0.1}, Path("/parent"), Path("/save"))
    assert (held.start, held.steps, held.number, held.attempt, held.member, held.generation) == (20, 10, 7, 3, 5, 2)
    assert (held.seed, held.worker, held.devices) == (11, "4", ("0",))


def test_measurements_are_reported_as_they_are_made() -> None:
    heard: list[Measurement] = []
    held = running(heard)
    held.report(step=25, accuracy=np.float32(0.5))
    held.report(accuracy=1)
    assert heard == [Measurement(step=25, metrics={"accuracy": 0.5}), Measurement(step=30, metrics={"accuracy": 1})]
    assert held.last == heard[-1]


def test_any_string_may_name_a_metric() -> None:
    heard: list[Measurement] = []
    running(heard).report(**{"self": 1, "val/accuracy": 2})
    assert heard[0].metrics == {"self": 1, "val/accuracy": 2}


def test_a_value_that_can_not_be_a_metric_is_refused_where_it_is_reported() -> None:
    heard: list[Measurement] = []
    with pytest.raises(TrialFailed, match="metric 'accuracy' is a ndarray"):
        running(heard).report(accuracy=np.zeros(3))
    assert heard == []


@pytest.mark.parametrize("error", [Stopped("enough"), LeaseLost("superseded"), Preempted("leave")])
def test_a_report_that_ended_the_trial_raises_again_at_each_further_report(error: BaseException) -> None:
    heard: list[Measurement] = []
    held = running(heard, error)
    with pytest.raises(type(error)):
        held.report(accuracy=1)
    with pytest.raises(type(error), match=str(error)):
        held.report(accuracy=2)
    assert len(heard) == 1


def test_a_change_of_the_params_changes_only_a_copy() -> None:
    given = trial(params={"lr": 0.1})
    held = RunningTrial(assigned(given))
    held.params["lr"] = 1.0
    assert given.params == {"lr": 0.1}


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("bad\nvery"), "ValueError: bad"), (KeyError("lr"), "KeyError: 'lr'"), (MemoryError(), "MemoryError")],
)
def test_an_error_is_described_in_one_line(error: BaseException, line: str) -> None:
    assert in_one_line(error) == line


def test_an_error_without_a_message_is_named() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert in_one_line(Odd()) == "Odd"
