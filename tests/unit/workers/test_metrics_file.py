"""A metrics file, followed while a program appends to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from assignments import trial
from hypothesis import given
from hypothesis import strategies as st

from broodline.core.trial import Measurement
from broodline.errors import Stopped, TrialFailed
from broodline.workers.trainers.measurements import Measurements
from broodline.workers.trainers.metrics_file import MetricsFile


@pytest.fixture
def reported() -> list[Measurement]:
    return []


@pytest.fixture
def reports(tmp_path: Path, reported: list[Measurement]) -> MetricsFile:
    return followed(tmp_path, reported.append)


def followed(directory: Path, report: Callable[[Measurement], None]) -> MetricsFile:
    return MetricsFile(directory / "metrics", Measurements(trial(steps=10), report))


def append(reports: MetricsFile, text: str) -> None:
    with reports.path.open("a", encoding="utf-8", newline="") as file:
        file.write(text)


def test_the_file_is_there_before_anything_is_reported(reports: MetricsFile, reported: list[Measurement]) -> None:
    assert reports.path.read_bytes() == b""
    reports.finish()
    assert reported == []


def test_complete_lines_are_reported_once_and_an_unfinished_line_waits(reports: MetricsFile, reported: list[Measurement]) -> None:
    append(reports, '{"step": 1, "a": 1}\n{"step": 2, ')
    reports.follow()
    reports.follow()
    assert [m.step for m in reported] == [1]
    append(reports, '"a": 2}\n')
    reports.follow()
    assert [m.step for m in reported] == [1, 2]


def test_a_last_line_needs_no_end(reports: MetricsFile, reported: list[Measurement]) -> None:
    append(reports, '{"step": 1, "a": 1}\n{"step": 2, "a": 2}')
    reports.finish()
    assert [m.step for m in reported] == [1, 2]


def test_empty_lines_and_those_of_windows_are_fine(reports: MetricsFile, reported: list[Measurement]) -> None:
    append(reports, '\r\n{"step": 1, "a": 1}\r\n\n  \n')
    reports.follow()
    reports.finish()
    assert [m.metrics for m in reported] == [{"a": 1}]


def test_a_program_that_starts_its_file_over_is_followed(reports: MetricsFile, reported: list[Measurement]) -> None:
    append(reports, '{"step": 1, "a": 1}\n{"step": 2, "a": 2}\n')
    reports.follow()
    reports.path.unlink()
    reports.follow()
    append(reports, '{"step": 3, "a": 3}\n')
    reports.finish()
    assert [m.step for m in reported] == [1, 2, 3]


def test_a_line_that_is_not_json_fails_the_trial(reports: MetricsFile) -> None:
    append(reports, '{"step": 1, "a": 1}\noops\n')
    with pytest.raises(TrialFailed, match="'oops'"):
        reports.follow()


def test_bytes_that_are_not_utf_8_fail_the_trial_and_nothing_else(reports: MetricsFile) -> None:
    reports.path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(TrialFailed, match="invalid JSON"):
        reports.follow()


def test_a_report_may_end_the_trial(tmp_path: Path) -> None:
    def stop(_: Measurement) -> None:
        raise Stopped("stopped early")

    reports = followed(tmp_path, stop)
    append(reports, '{"a": 1}\n')
    with pytest.raises(Stopped):
        reports.follow()


def test_final_metrics_that_repeat_the_last_report_are_not_counted_twice(reported: list[Measurement]) -> None:
    measurements = Measurements(trial(), reported.append)
    measurements.add({"step": 4, "a": float("nan"), "b": 1})
    measurements.conclude({"step": 4, "b": 1, "a": float("nan")})
    assert len(reported) == 1
    measurements.conclude({"step": 4, "b": 2})
    assert [m.metrics.get("b") for m in reported] == measurements_of(measurements) == [1, 2]


def measurements_of(measurements: Measurements) -> list[object]:
    return [m.metrics.get("b") for m in measurements.taken]


def test_values_that_are_not_finite_are_read_as_any_language_spells_them(
    reports: MetricsFile, reported: list[Measurement]
) -> None:
    append(reports, '{"a": 0.5}\n{"a": nan}\n{"a": -Inf}\n')
    reports.finish()
    assert [str(m.metrics["a"]) for m in reported] == ["0.5", "nan", "-inf"]


def replace_by_directory(path: Path) -> None:
    path.mkdir()


def replace_by_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("replace", "kind"), [(replace_by_directory, "a directory"), (os.mkfifo, "a FIFO"), (replace_by_device, "a device")]
)
def test_a_file_that_was_replaced_by_something_else_fails_the_trial_at_once(
    reports: MetricsFile, replace: Callable[[Path], None], kind: str
) -> None:
    reports.path.unlink()
    replace(reports.path)
    with pytest.raises(TrialFailed, match=f"the program replaced its metrics file by {kind}"):
        reports.follow()


def test_a_line_without_end_fails_the_trial_before_it_fills_the_memory(reports: MetricsFile) -> None:
    with reports.path.open("r+b") as file:
        file.truncate(64 << 20)
    with pytest.raises(TrialFailed, match="a line of the metrics file is longer than 16 MiB"):
        reports.follow()


@given(st.lists(st.integers(0, 40), max_size=8))
def test_any_batching_of_the_same_bytes_gives_the_same_measurements(cuts: list[int]) -> None:
    data = b'{"a": 1}\n\n{"a": 2, "b": 3}\r\n{"a": 4}'
    taken: list[Measurement] = []
    with TemporaryDirectory() as directory:
        reports = followed(Path(directory), taken.append)
        for start, end in pairwise(sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})):
            with reports.path.open("ab") as file:
                file.write(data[start:end])
            reports.follow()
        reports.finish()
    assert [m.metrics for m in taken] == [{"a": 1}, {"a": 2, "b": 3}, {"a": 4}]


def test_a_report_without_a_step_is_of_the_end_or_of_the_step_to_which_the_program_overshot(
    reports: MetricsFile, reported: list[Measurement]
) -> None:
    append(reports, '{"a": 1}\n{"step": 12, "a": 1}\n{"a": 1}\n')
    reports.finish()
    assert [m.step for m in reported] == [10, 12, 12]
