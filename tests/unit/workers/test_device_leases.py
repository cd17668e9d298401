"""The devices that a run or a joining worker takes, and the files that show them to other workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from living import wait_for

from broodline.storage.location import files_in
from broodline.storage.study_files import StudyFiles
from broodline.workers.device_choice import Choice, InUse, as_named, for_run, for_worker
from broodline.workers.device_leases import leased

FOUR = ("0", "1", "2", "3")


def used(*shares: str, here: bool = True) -> list[InUse]:
    return [InUse(devices=tuple(share.split(",")), of_this_study=here) for share in shares]


@pytest.mark.parametrize(
    ("in_use", "workers", "choice"),
    [
        ([], 4, Choice(devices=FOUR)),
        ([], 3, Choice(devices=FOUR, note="device 3 is idle: each of 3 workers has 1 of 4 devices")),
        (used("7"), 4, Choice(devices=FOUR)),
        (
            used("0", "2"),
            2,
            Choice(devices=("1", "3"), note="devices 0, 2 are in use by other workers, so this run uses devices 1, 3"),
        ),
        (
            used("0,1", "2,3"),
            4,
            Choice(devices=FOUR, note="devices 0, 1, 2, 3 are shared with other workers: no device is free"),
        ),
    ],
)
def test_a_run_deals_out_the_free_devices_and_all_if_none_is_free(in_use: list[InUse], workers: int, choice: Choice) -> None:
    assert for_run(FOUR, in_use, workers=workers) == choice


@pytest.mark.parametrize(
    ("in_use", "devices"),
    [
        ([], ("0", "1")),  # as many as each of the 2 workers of the study file would have
        (used("0"), ("1",)),  # as many as the worker that is there
        (used("0,1"), ("2", "3")),
        (used("0,1,2"), ("3",)),  # fewer free ones than the others have: none is shared
        (used("0", here=False), ("1", "2")),
        (used("0", "1", "1", "2", "3", "0"), ("2",)),  # none is free: the one that is used least
        (used("0,1", "2,3", "2,3"), ("0", "1")),
    ],
)
def test_a_worker_that_joins_takes_free_devices(in_use: list[InUse], devices: tuple[str, ...]) -> None:
    assert for_worker(FOUR, in_use, workers=2).devices == devices


def test_a_worker_without_a_choice_logs_nothing_unless_it_shares() -> None:
    assert for_worker(("0",), [], workers=1) == Choice(devices=("0",))
    assert for_worker(("0",), used("0"), workers=1).note.startswith("device 0 is shared with other workers: no device is free")


def test_named_devices_are_used_as_they_are() -> None:
    assert as_named(("1", "0"), []) == Choice(devices=("1", "0"))
    assert as_named(("1", "0"), used("0")) == Choice(devices=("1", "0"), note="device 0 is shared with other workers")


# Files


@pytest.fixture
def files(tmp_path: Path) -> StudyFiles:
    return files_in(tmp_path / "store" / "study")


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()


def in_use(files: StudyFiles) -> list[InUse]:
    """The devices in use, as a worker sees them that looks for free ones."""
    seen: list[InUse] = []

    def choose(devices: tuple[str, ...], others: Sequence[InUse]) -> Choice:
        seen.extend(others)
        return Choice(devices=devices)

    with leased(files, ("9",), choose):
        return seen


def test_a_lease_lasts_as_long_as_its_block_and_leaves_no_file(files: StudyFiles) -> None:
    with leased(files, FOUR, partial(for_run, workers=2), workers=2):
        assert sorted(each.devices for each in in_use(files)) == [("0", "1"), ("2", "3")]
    assert in_use(files) == []
    assert list(files.devices.iterdir()) == []


def test_leases_of_all_studies_of_the_store_count(files: StudyFiles, tmp_path: Path) -> None:
    other = files_in(tmp_path / "store" / "other")
    with leased(files, ("0",), as_named):
        assert in_use(other) == [InUse(devices=("0",), of_this_study=False)]


def test_the_devices_of_a_worker_that_has_finished_are_free(files: StudyFiles) -> None:
    with leased(files, FOUR, partial(for_run, workers=4), workers=4) as leases:
        leases.free(2)
        leases.free(2)
        assert sorted(each.devices for each in in_use(files)) == [("0",), ("1",), ("3",)]


def test_the_devices_of_a_killed_process_are_free_and_its_file_is_removed(files: StudyFiles) -> None:
    child = os.fork()
    if child == 0:
        with leased(files, ("0",), as_named):
            signal.pause()
    try:
        wait_for(lambda: in_use(files) == [InUse(devices=("0",), of_this_study=True)])
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert in_use(files) == []
    assert list(files.devices.iterdir()) == []


def test_a_process_that_was_forked_does_not_keep_the_devices(files: StudyFiles) -> None:
    with leased(files, ("0",), as_named):
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        assert in_use(files) == []
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_without_devices_nothing_is_written(files: StudyFiles) -> None:
    with leased(files, (), as_named) as leases:
        assert (leases.devices, leases.note) == ((), "")
    assert not files.root.exists()


def test_leases_that_cannot_be_written_cost_a_line_and_not_the_run(files: StudyFiles) -> None:
    files.root.mkdir()
    files.devices.write_text("not a directory")
    with leased(files, ("0",), partial(for_run, workers=1)) as leases:
        assert leases.devices == ("0",)
        assert leases.note.startswith("the devices of other workers are not known, and may be the same: ")
        assert str(files.devices) in leases.note
