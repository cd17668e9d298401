"""Training by a Python function: its return value, its errors, and its output."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
from assignments import assignment

from broodline.core.trial import Measurement
from broodline.errors import LeaseLost, Preempted, Stopped, TrialFailed
from broodline.storage.disk import is_disk_full
from broodline.workers.running_trial import RunningTrial
from broodline.workers.trainers.function import FunctionTrainer


def trained(directory: Path, function: Any, **given: Any) -> list[Measurement]:
    return FunctionTrainer(function).train(assignment(directory, **given))


def failure(directory: Path, function: Any) -> TrialFailed:
    with pytest.raises(TrialFailed) as failed:
        FunctionTrainer(function, capture=True).train(assignment(directory))
    return failed.value


def raising(error: BaseException) -> Any:
    def function(_: RunningTrial) -> NoReturn:
        raise error

    return function


def test_the_returned_metrics_come_after_the_reported_ones(tmp_path: Path) -> None:
    def function(trial: RunningTrial) -> dict[str, float]:
        trial.report(step=1, accuracy=0.1)
        return {"accuracy": 0.2}

    reported_now: list[Measurement] = []
    reported = Measurement(step=1, metrics={"accuracy": 0.1})
    assert trained(tmp_path, function, report=reported_now.append) == [reported, Measurement(step=3, metrics={"accuracy": 0.2})]
    assert reported_now == [reported]


def test_a_function_that_reports_need_not_return(tmp_path: Path) -> None:
    assert trained(tmp_path, lambda trial: trial.report(step=2, a=1)) == [Measurement(step=2, metrics={"a": 1})]


def test_a_function_may_return_the_step_that_it_reached(tmp_path: Path) -> None:
    assert trained(tmp_path, lambda _: {"step": 5, "a": 1}) == [Measurement(step=5, metrics={"a": 1})]


def test_a_function_that_neither_returns_nor_reports_fails(tmp_path: Path) -> None:
    assert "neither returned" in failure(tmp_path, lambda _: None).reason


@pytest.mark.parametrize("returned", [0.93, [1], "accuracy", True])
def test_a_function_that_returns_no_mapping_fails(tmp_path: Path, returned: Any) -> None:
    reason = failure(tmp_path, lambda _: returned).reason
    assert type(returned).__name__ in reason
    assert "metrics by name" in reason


@pytest.mark.parametrize("error", [ValueError("boom"), MemoryError("boom"), SystemExit("boom"), GeneratorExit("boom")])
def test_an_error_fails_the_trial_with_its_traceback_after_what_was_printed(tmp_path: Path, error: BaseException) -> None:
    def function(_: RunningTrial) -> Mapping[str, Any]:
        os.write(1, b"epoch 1\n")
        raise error

    failed = failure(tmp_path, function)
    assert failed.reason == f"{type(error).__name__}: boom"
    assert failed.output.startswith("epoch 1\nTraceback")
    assert "in function" in failed.output
    assert "broodline/trainers" not in failed.output.replace(str(tmp_path), "")
    assert failed.__cause__ is error


def test_sys_exit_does_not_end_the_worker_even_with_status_0(tmp_path: Path) -> None:
    assert failure(tmp_path, lambda _: sys.exit(0)).reason == "SystemExit: 0"


def test_a_full_disk_is_distinguished_from_a_failing_function(tmp_path: Path) -> None:
    assert is_disk_full(failure(tmp_path, raising(OSError(errno.ENOSPC, "No space left on device"))))


@pytest.mark.parametrize("error", [Stopped("enough"), LeaseLost("gone"), Preempted(), KeyboardInterrupt()])
def test_an_error_that_ends_a_trial_without_failing_it_passes(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        trained(tmp_path, raising(error))
    assert raised.value is error


@pytest.mark.parametrize("ends", ["returns", "raises another"])
def test_a_function_that_suppresses_stopped_is_stopped(tmp_path: Path, ends: str) -> None:
    def stop(_: Measurement) -> None:
        raise Stopped("stopped early")

    def function(trial: RunningTrial) -> dict[str, float]:
        try:
            trial.report(a=1)
        except Stopped as stopped:
            if ends == "raises another":
                raise RuntimeError("the framework gave up") from stopped
        return {"a": 1.0}

    with pytest.raises(Stopped, match="stopped early"):
        trained(tmp_path, function, report=stop)


def test_output_is_captured_only_on_request(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def function(_: RunningTrial) -> dict[str, float]:
        os.write(1, b"epoch 1\n")
        return {"a": 1.0}

    trained(tmp_path, function)
    assert capfd.readouterr().out == "epoch 1\n"
    assert not (tmp_path / "0.log").exists()
    FunctionTrainer(function, capture=True).train(assignment(tmp_path, 1))
    assert capfd.readouterr().out == ""
    assert (tmp_path / "1.log").read_bytes() == b"epoch 1\n"


def test_returned_metrics_that_repeat_the_last_report_count_once(tmp_path: Path) -> None:
    def train(trial: RunningTrial) -> dict[str, float]:
        trial.report(accuracy=0.5)
        trial.report(step=trial.end, accuracy=0.9)
        return {"accuracy": 0.9}

    measurements = FunctionTrainer(train).train(assignment(tmp_path))
    assert [measurement.metrics["accuracy"] for measurement in measurements] == [0.5, 0.9]
