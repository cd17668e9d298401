"""Kills a study before, within and after each call that changes its directory; no completed trial may be lost.

`crashpoints.c` traces these calls between the process and the C library, so SQLite's writes are among them.
`make test` tries a spread sample of the points, `make soak` all.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from crashing_study import (
    AFTER,
    BEFORE,
    FAILS,
    TRIALS,
    WITHIN,
    Stage,
    assert_tidy,
    completed,
    diary_of,
    lose_power,
    noted,
    recorded,
    stage,
)

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a preloaded library traces the calls: Linux only"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="a library in C traces the calls, and gcc is not installed"),
]
SOME, ALL = 20, None
SAMPLES = pytest.mark.parametrize(
    "sample", [pytest.param(SOME, id="some", marks=pytest.mark.timeout(900)), pytest.param(ALL, id="all", marks=pytest.mark.soak)]
)
MOMENTS = {BEFORE: "before", WITHIN: "within", AFTER: "after"}
KINDS = {"open", "write", "fsync", "truncate", "rename", "unlink", "mkdir", "rmdir", "flock"}
Case = tuple[str, int]


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("plays"), "gcc") as ready:
        yield ready


@pytest.fixture(scope="module")
def whole(theatre: Stage) -> tuple[list[str], list[dict[str, Any]]]:
    """The points of a study without a crash, and its trials."""
    study = theatre.new_directory()
    points = theatre.traced(study)
    trials = recorded(study)
    states = ["failed" if trial["number"] == FAILS else "completed" for trial in trials]
    assert [trial["state"] for trial in trials] == states
    assert len(trials) == TRIALS
    assert_tidy(study)
    assert {point.split()[0] for point in points} == KINDS
    return points, trials


def kind_of(point: str) -> str:
    """The call and its path, without the number of the trial."""
    return re.sub(r"\d+", "", point)


def spread(cases: Sequence[Case], most: int | None) -> list[Case]:
    """All cases, or a sample with a share for each kind of point."""
    if most is None or len(cases) <= most:
        return list(cases)
    chance = random.Random(0)
    by_kind: dict[str, list[Case]] = {}
    for case in cases:
        by_kind.setdefault(kind_of(case[0]), []).append(case)
    one_each = [chance.choice(each) for each in by_kind.values()]
    rest = chance.sample(sorted(set(cases) - set(one_each)), most)
    return [*chance.sample(one_each, min(len(one_each), most // 2)), *rest][:most]


def cases_of(points: Sequence[str], moments: Sequence[int] = (BEFORE, WITHIN, AFTER)) -> list[Case]:
    """The moments before and after each point, and within each write."""
    return [(point, moment) for point in points for moment in moments if moment != WITHIN or point.startswith("write ")]


def assert_nothing_is_lost(theatre: Stage, study: Path, expected: list[dict[str, Any]]) -> None:
    """Resumes a crashed study; requires that acknowledged trials are unchanged and not trained again."""
    acknowledged, started = set(noted(study, "acknowledged")), len(noted(study, "starts"))
    before = completed(recorded(study))
    assert acknowledged <= before.keys(), "an acknowledged trial is not recorded"
    assert theatre.play(study) == 0, theatre.said
    trials = recorded(study)
    after = completed(trials)
    assert {number: after.get(number) for number in before} == before, "a completed trial has changed"
    assert not before.keys() & set(noted(study, "starts")[started:]), "a completed trial is trained again"
    assert trials == expected, "the study ended differently than without a crash"
    assert_tidy(study)


def crash_everywhere(
    cases: Sequence[Case], crash: Callable[[Case], Path], theatre: Stage, expected: list[dict[str, Any]]
) -> None:
    """Crashes the study at each case and resumes it."""
    for case in cases:
        study = crash(case)
        try:
            assert_nothing_is_lost(theatre, study, expected)
        except BaseException as error:
            error.add_note(f"killed {MOMENTS[case[1]]} {case[0]}, in {study}")
            raise
        shutil.rmtree(study.parent)


def report(
    request: pytest.FixtureRequest, what: str, points: Sequence[str], cases: Sequence[Case], tried: Sequence[Case]
) -> None:
    kinds = ", ".join(f"{sum(point.startswith(kind + ' ') for point in points)} {kind}" for kind in sorted(KINDS))
    line = f"{what}: {len(points)} points ({kinds}), {len(cases)} cases, {len(tried)} tried"
    request.node.user_properties.append(("figures", line))


@SAMPLES
def test_a_study_killed_at_any_point_resumes_and_ends_as_without_a_crash(
    sample: int | None, theatre: Stage, whole: tuple[list[str], list[dict[str, Any]]], request: pytest.FixtureRequest
) -> None:
    points, expected = whole
    cases = cases_of(points)

    def crash(case: Case) -> Path:
        study = theatre.new_directory()
        assert theatre.play(study, point=case[0], moment=case[1]) == -signal.SIGKILL, "the study did not reach the point"
        return study

    tried = spread(cases, sample)
    crash_everywhere(tried, crash, theatre, expected)
    report(request, "killed", points, cases, tried)


@SAMPLES
def test_a_study_killed_again_after_it_resumed_loses_no_completed_trial(
    sample: int | None, theatre: Stage, whole: tuple[list[str], list[dict[str, Any]]], request: pytest.FixtureRequest
) -> None:
    """The crashed study has a dead worker, a staged checkpoint, a checkpoint under removal, and a write-ahead log of SQLite."""
    _, expected = whole
    crashed = theatre.new_directory()
    point = next(point for point in whole[0] if re.search(r"unlink .*/staging/\d+\.1\.removed/optimizer", point))
    assert theatre.play(crashed, point=point, moment=BEFORE) == -signal.SIGKILL
    kept = theatre.copy(crashed)

    def copy() -> Path:
        # A copy that is resumed reads the identity of its original, and the last reader of a database empties its log.
        for path in filter(Path.is_file, kept.glob("broodline.db*")):
            shutil.copy(path, crashed)
        return theatre.copy(crashed)

    points = theatre.traced(copy())
    assert set(points) == set(theatre.traced(copy())), "two resumes of one copy differ, so a point may not be reached again"
    cases = cases_of(points)

    def crash(case: Case) -> Path:
        study = copy()
        assert theatre.play(study, point=case[0], moment=case[1]) == -signal.SIGKILL, "the study did not reach the point"
        return study

    tried = spread(cases, sample)
    crash_everywhere(tried, crash, theatre, expected)
    report(request, "killed again after a resume", points, cases, tried)


@SAMPLES
@pytest.mark.parametrize("names_too", [False, True], ids=["contents", "contents and names"])
def test_a_power_failure_that_drops_all_unflushed_data_loses_no_completed_trial(
    names_too: bool,
    sample: int | None,
    theatre: Stage,
    whole: tuple[list[str], list[dict[str, Any]]],
    request: pytest.FixtureRequest,
) -> None:
    points, expected = whole
    cases = cases_of(points, moments=[AFTER])

    def crash(case: Case) -> Path:
        study = theatre.new_directory()
        assert theatre.play(study, flushed=True, point=case[0], moment=case[1]) == -signal.SIGKILL, (
            "the study did not reach the point"
        )
        lose_power(study, names_too=names_too)
        return study

    tried = spread(cases, sample)
    crash_everywhere(tried, crash, theatre, expected)
    report(request, f"power lost, with {'contents and names' if names_too else 'contents'} not flushed", points, cases, tried)


def test_the_simulated_power_failure_drops_unflushed_data(theatre: Stage) -> None:
    """Checks the instrument: without a worker's flush its checkpoints would be empty."""
    study = theatre.new_directory()
    assert theatre.play(study, flushed=True) == 0
    (study / "careless").write_text("never flushed")
    files = {path.relative_to(study): path.read_bytes() for path in study.rglob("weights")}
    assert files
    lose_power(study, names_too=False)
    assert (study / "careless").read_bytes() == b""
    assert {path.relative_to(study): path.read_bytes() for path in study.rglob("weights")} == files
    assert diary_of(study).exists()
    lose_power(study, names_too=True)
    assert not (study / "careless").exists()
