"""The disk checker of the soak finds each problem that it exists for."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from assignments import is_gone
from recorded import recorded_at
from soak.disk_checker import checkpoint_problems, database_problems, disk_problems, leftovers, process_problems
from soak.stage import Stage, came_true
from soak.train import save

from broodline.storage.checkpoints.local import LocalCheckpointStore
from broodline.storage.checkpoints.manifest import MANIFEST

Entry = dict[str, Any]


def committed(files: LocalCheckpointStore, number: int) -> tuple[Entry, Entry]:
    """A committed checkpoint: the record of its trial, and the line in the trainer's log."""
    path = files.committed / f"{number:06d}.1"
    path.mkdir()
    saved = save(path, json.dumps({"trial": number}).encode())
    (path / MANIFEST).write_text(json.dumps({"files": {name: (path / name).stat().st_size for name in saved}}))
    record = {"number": number, "attempt": 1, "checkpoint": str(path)}
    return record, {"event": "saved", "trial": number, "attempt": 1, "files": saved}


@pytest.fixture
def files(tmp_path: Path) -> LocalCheckpointStore:
    store = LocalCheckpointStore(tmp_path)
    store.prepare()
    return store


@pytest.fixture
def study(files: LocalCheckpointStore) -> tuple[list[Entry], list[Entry]]:
    """The records of two trials, and the trainer's log."""
    both = [committed(files, number) for number in (0, 1)]
    return [record for record, _ in both], [entry for _, entry in both]


def a_flipped_byte(checkpoint: Path) -> None:
    path = checkpoint / "parts" / "weights"
    path.write_bytes(b"\1" + path.read_bytes()[1:])


def a_flipped_byte_of_the_padding(checkpoint: Path) -> None:
    path = checkpoint / "parts" / "weights"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")


def a_shorter_file(checkpoint: Path) -> None:
    path = checkpoint / "parts" / "weights"
    path.write_bytes(path.read_bytes()[:-1])


def no_file(checkpoint: Path) -> None:
    (checkpoint / "digest").unlink()


def one_more_file(checkpoint: Path) -> None:
    (checkpoint / "parts" / "more").write_bytes(b"")


def no_checkpoint(checkpoint: Path) -> None:
    checkpoint.rename(checkpoint.with_name("elsewhere"))


def the_weights_of_another_trial(checkpoint: Path) -> None:
    for name in ("parts/weights", "digest"):
        (checkpoint / name).write_bytes((checkpoint.with_name("000001.1") / name).read_bytes())


def test_checkpoints_as_they_were_saved_are_no_problem(
    study: tuple[list[Entry], list[Entry]], files: LocalCheckpointStore
) -> None:
    records, log = study
    assert list(checkpoint_problems(records, log, files)) == []
    assert list(checkpoint_problems([*records, {"number": 2, "attempt": 1, "checkpoint": None}], log, files)) == []
    assert list(disk_problems(records, files)) == []


@pytest.mark.parametrize(
    "change",
    [
        a_flipped_byte,
        a_flipped_byte_of_the_padding,
        a_shorter_file,
        no_file,
        one_more_file,
        no_checkpoint,
        the_weights_of_another_trial,
    ],
)
def test_a_recorded_checkpoint_that_differs_in_one_byte_or_file_is_a_problem(
    change: Callable[[Path], None], study: tuple[list[Entry], list[Entry]], files: LocalCheckpointStore
) -> None:
    records, log = study
    change(files.committed / "000000.1")
    (problem,) = checkpoint_problems(records, log, files)
    assert "trial 0" in problem


def test_a_recorded_checkpoint_that_no_attempt_logged_is_a_problem(
    study: tuple[list[Entry], list[Entry]], files: LocalCheckpointStore
) -> None:
    records, log = study
    assert len(list(checkpoint_problems(records, log[1:], files))) == 1
    assert len(list(checkpoint_problems([records[0] | {"attempt": 2}], log, files))) == 1


def test_a_file_that_no_record_names_is_a_problem(study: tuple[list[Entry], list[Entry]], files: LocalCheckpointStore) -> None:
    records, _ = study
    assert len(list(disk_problems(records[:1], files))) == 1
    (files.staging / "000009.1").mkdir()
    assert len(list(disk_problems(records, files))) == 1


def test_a_session_file_and_a_scratch_directory_are_problems(tmp_path: Path) -> None:
    sessions, scratch = tmp_path / "workers", tmp_path / "tmp"
    sessions.mkdir()
    scratch.mkdir()
    assert list(leftovers(sessions, scratch)) == []
    (sessions / "0123").touch()
    assert len(list(leftovers(sessions, scratch))) == 1
    (scratch / "broodline-0123-x").mkdir()
    assert len(list(leftovers(sessions, scratch))) == 2


def test_an_orphan_in_a_session_of_its_own_is_found_and_named(tmp_path: Path) -> None:
    stage = Stage(tmp_path, tmp_path / "notes", 0)
    code = "import os, sys, time; os.fork() and os._exit(0); os.setsid(); print(os.getpid(), flush=True); time.sleep(600)"
    environ = os.environ | {"BROODLINE_SOAK": str(tmp_path / "notes")}
    with subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())
        parent.wait()
        try:
            assert stage.processes() == [orphan]
            (problem,) = process_problems(stage.processes())
            assert "still running" in problem
            assert "os.setsid" in problem
        finally:
            stage.kill_everything()
    assert came_true(lambda: is_gone(orphan), seconds=60)
    assert stage.processes() == []


def test_a_database_that_breaks_an_invariant_or_is_corrupt_is_a_problem(tmp_path: Path) -> None:
    recorded_at(tmp_path, [0.1, 0.2])
    path = tmp_path / "broodline.db"
    assert list(database_problems(path, "digits")) == []
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE trials SET start = 7 WHERE number = 1")
    assert len(list(database_problems(path, "digits"))) == 1
