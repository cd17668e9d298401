"""A metrics file, followed while a program appends to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from assignments import trial

from broodline.core.trial import Measurement
from broodline.errors import Stopped, TrialFailed
from broodline.workers.trainers.metrics_file import MetricsFile


@pytest.fixture
def reported() -> list[Measurement]:
    return []


@pytest.fixture
def reports(tmp_path: Path, reported: list[Measurement]) -> MetricsFile:
    return MetricsFile(tmp_path / "metrics", trial(steps=10), reported.append)


def append(reports: MetricsFile, text: str) -> None:
    with reports.path.open("a", encoding="utf-8", newline="") as file:
        file.write(text)


def test_the_file_is_there_before_anything_is_reported(reports: MetricsFile) -> None:
    assert reports.path.read_bytes() == b""
    assert reports.finish() == []


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
    assert [m.step for m in reports.finish()] == [1, 2]
    assert reported == reports.measurements


def test_empty_lines_and_those_of_windows_are_fine(reports: MetricsFile) -> None:
    append(reports, '\r\n{"step": 1, "a": 1}\r\n\n  \n')
    reports.follow()
    assert [m.metrics for m in reports.finish()] == [{"a": 1}]


def test_a_program_that_starts_its_file_over_is_followed(reports: MetricsFile) -> None:
    append(reports, '{"step": 1, "a": 1}\n{"step": 2, "a": 2}\n')
    reports.follow()
    reports.path.unlink()
    reports.follow()
    append(reports, '{"step": 3, "a": 3}\n')
    assert [m.step for m in reports.finish()] == [1, 2, 3]


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

    reports = MetricsFile(tmp_path / "metrics", trial(), stop)
    append(reports, '{"a": 1}\n')
    with pytest.raises(Stopped):
        reports.follow()


def test_final_metrics_that_repeat_the_last_report_are_not_counted_twice(reports: MetricsFile) -> None:
    append(reports, '{"step": 4, "a": NaN, "b": 1}\n')
    reports.finish()
    reports.conclude({"step": 4, "b": 1, "a": float("nan")})
    assert len(reports.measurements) == 1
    reports.conclude({"step": 4, "b": 2})
    assert [m.metrics.get("b") for m in reports.measurements] == [1, 2]


def test_a_report_without_a_step_is_of_the_end_or_of_the_step_to_which_the_program_overshot(reports: MetricsFile) -> None:
    append(reports, '{"a": 1}\n{"step": 12, "a": 1}\n{"a": 1}\n')
    assert [m.step for m in reports.finish()] == [10, 12, 12]
