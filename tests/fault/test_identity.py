"""A store and its files belong together: copies, moves, disks that are away, and databases that vanish, with real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import call
from living import begun, ended, interrupted, running, trials_of, wait_for, write_study

DATABASE, FILES = "broodline.db", "broodline.db.files"


def checkpoints_in(directory: Path) -> list[Path]:
    return sorted((directory / FILES / "digits" / "checkpoints").iterdir())


def recorded(study: Path, *options: str) -> list[int]:
    """The trials whose checkpoints the records name."""
    return [trial["number"] for trial in trials_of(study, *options) if trial["checkpoint"]]


def done(study: Path) -> list[tuple[str, int]]:
    return [(trial["state"], trial["attempt"]) for trial in trials_of(study)]


def longer(directory: Path, trials: int) -> Path:
    return write_study(directory, budget=f"trials = {trials}")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A directory with a study that is done, and may be continued with a larger budget."""
    (tmp_path / "go").touch()
    assert call("run", longer(tmp_path, 4)).returncode == 0
    return tmp_path


def test_a_copy_that_is_resumed_while_the_original_runs_leaves_its_programs_alone(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    study = write_study(original, budget="trials = 4", workers=2)
    with running("run", study, cwd=original) as run:
        wait_for(lambda: len(begun(original)) == 2)
        shutil.copytree(original, copy)
        (copy / "go").touch()
        with running("run", "study.toml", cwd=copy) as other:
            assert other.end() == 0
            assert f"{copy / DATABASE} is a copy of {original / DATABASE}" in other.said
        (original / "go").touch()
        assert run.end() == 0
        assert "is a copy of" not in run.said
        assert "died" not in run.said
    assert done(study) == [("completed", 1)] * 4
    assert [state for state, _ in done(copy / "study.toml")] == ["completed"] * 4
    assert not any((copy / FILES / "digits" / "workers").iterdir())


def test_a_directory_that_is_away_stops_a_run_before_it_asks_and_strikes_nothing(finished: Path) -> None:
    study = longer(finished, 6)
    before = recorded(study)
    (finished / FILES).rename(finished / "away")
    refused = call("run", study)
    assert (refused.returncode, recorded(study)) == (2, before)
    assert f"{finished / FILES}: the directory with the checkpoints of {DATABASE} is not there" in refused.stderr
    assert not (finished / FILES).exists()
    for command in ("worker", "gc"):
        assert call(command, study).returncode == 2
    (finished / "away").rename(finished / FILES)
    assert call("run", study).returncode == 0
    assert all(trial["parent"] is not None for trial in trials_of(study)[4:])


def test_a_directory_that_goes_away_while_a_study_runs_is_waited_for(tmp_path: Path) -> None:
    study = write_study(tmp_path, budget="trials = 6")
    with running("run", study, cwd=tmp_path, FREE="3") as run:
        wait_for(lambda: (3, 1) in begun(tmp_path))
        (tmp_path / FILES).rename(tmp_path / "away")
        (tmp_path / FILES).mkdir()  # the mount point
        (tmp_path / "go").touch()
        wait_for(lambda: "the directory of the store's files is away" in run.said)
        assert os.listdir(tmp_path / FILES) == []
        (tmp_path / FILES).rmdir()
        (tmp_path / "away").rename(tmp_path / FILES)
        assert run.end() == 0
    assert done(study) == [("completed", 1)] * 6


def test_a_missing_parent_stops_the_run_until_a_person_gives_its_checkpoint_up(finished: Path) -> None:
    study = longer(finished, 6)
    before = recorded(study)
    for checkpoint in checkpoints_in(finished):
        shutil.rmtree(checkpoint)
    stopped = call("run", study)
    assert stopped.returncode == 1
    assert "the checkpoint is missing" in stopped.stderr
    assert "--forget-missing" in stopped.stderr
    assert recorded(study) == before
    assert [trial["state"] for trial in trials_of(study)] == ["completed"] * 4 + ["pending"]

    listed = json.loads(call("gc", study, "--forget-missing", "--dry-run", "--json").stdout.splitlines()[0])
    assert (listed["forgotten"], recorded(study)) == (before, before)
    assert call("gc", study, "--forget-missing").returncode == 0
    assert recorded(study) == []
    assert call("run", study).returncode == 0
    assert [trial["state"] for trial in trials_of(study)] == ["completed"] * 6


def test_checkpoints_whose_whole_directory_is_lost_can_be_given_up(finished: Path) -> None:
    study = longer(finished, 6)
    before = recorded(study)
    shutil.rmtree(finished / FILES)
    assert call("run", study).returncode == 2
    listed = json.loads(call("gc", study, "--forget-missing", "--dry-run", "--json").stdout.splitlines()[0])
    assert (listed["forgotten"], recorded(study)) == (before, before)
    assert call("gc", study, "--forget-missing").returncode == 0
    assert call("run", study).returncode == 0
    assert [trial["state"] for trial in trials_of(study)] == ["completed"] * 6


def test_one_worker_gives_up_one_corrupt_checkpoint_and_stops_at_the_second(finished: Path) -> None:
    study = longer(finished, 8)
    before = recorded(study)
    for checkpoint in checkpoints_in(finished):
        (checkpoint / "weights").write_text("")
    stopped = call("run", study)
    assert stopped.returncode == 1
    assert "this worker found the checkpoints of trials" in stopped.stderr
    assert len(recorded(study)) == len(before) - 1


def deleted(directory: Path) -> None:
    for path in directory.glob(f"{DATABASE}*"):
        if path.is_file():
            path.unlink()


def replaced(directory: Path) -> None:
    deleted(directory)
    (directory / DATABASE).write_bytes(b"")


@pytest.mark.parametrize("event", [deleted, replaced])
def test_a_database_that_is_lost_under_a_run_is_rescued_with_all_that_was_acknowledged(
    tmp_path: Path, event: Callable[[Path], None]
) -> None:
    study = write_study(tmp_path, budget="trials = 6")
    with running("run", study, cwd=tmp_path, FREE="3") as run:
        wait_for(lambda: (3, 1) in begun(tmp_path))
        event(tmp_path)
        wait_for(lambda: (tmp_path / f"{DATABASE}.rescued").exists())
        wait_for(lambda: f"{DATABASE}.rescued to {DATABASE}" in run.said)
        (tmp_path / "go").touch()
        wait_for(lambda: (3, 1) in ended(tmp_path))
        assert (tmp_path / DATABASE).exists() == (event is replaced)
        interrupted(run, signal.SIGINT)
        run.end()
    if event is deleted:
        again = call("run", study)
        assert again.returncode == 2
        assert f"{DATABASE}: the database is gone" in again.stderr
        assert not (tmp_path / DATABASE).exists()
    (tmp_path / f"{DATABASE}.rescued").replace(tmp_path / DATABASE)
    assert call("run", study).returncode == 0
    assert [trial["state"] for trial in trials_of(study)] == ["completed"] * 6
    assert [trial["attempt"] for trial in trials_of(study)][:3] == [1, 1, 1]


def test_a_database_that_is_put_back_is_used_again(tmp_path: Path) -> None:
    study = write_study(tmp_path, budget="trials = 6")
    with running("run", study, cwd=tmp_path, FREE="3") as run:
        wait_for(lambda: (3, 1) in begun(tmp_path))
        (tmp_path / DATABASE).rename(tmp_path / "elsewhere.db")
        wait_for(lambda: "the database was deleted or renamed while it is in use" in run.said)
        (tmp_path / "go").touch()
        wait_for(lambda: (3, 1) in ended(tmp_path))
        assert not (tmp_path / DATABASE).exists()
        (tmp_path / "elsewhere.db").rename(tmp_path / DATABASE)
        assert run.end() == 0
    assert done(study) == [("completed", 1)] * 6


def test_a_worker_that_joins_while_the_database_is_gone_is_refused_and_makes_none(tmp_path: Path) -> None:
    study = write_study(tmp_path, budget="trials = 6")
    with running("run", study, cwd=tmp_path) as run:
        wait_for(lambda: begun(tmp_path))
        deleted(tmp_path)
        wait_for(lambda: (tmp_path / f"{DATABASE}.rescued").exists())
        refused = call("worker", study, cwd=tmp_path)
        run.kill()
    assert refused.returncode == 2
    assert f"{DATABASE}: the database is gone" in refused.stderr
    assert f"put the database back (from {DATABASE}.rescued" in refused.stderr
    assert not (tmp_path / DATABASE).exists()


def test_a_worker_that_replaces_a_dead_one_while_the_database_is_gone_waits_for_it(tmp_path: Path) -> None:
    study = write_study(tmp_path, budget="trials = 4")
    with running("run", study, cwd=tmp_path, FREE="1") as run:
        wait_for(lambda: (1, 1) in begun(tmp_path))
        (tmp_path / DATABASE).rename(tmp_path / "elsewhere.db")
        (worker,) = run.workers
        worker.kill()
        wait_for(lambda: f"{tmp_path / DATABASE}: the database is gone; work waits for it" in run.said)
        assert not (tmp_path / DATABASE).exists()
        (tmp_path / "go").touch()
        (tmp_path / "elsewhere.db").rename(tmp_path / DATABASE)
        assert run.end() == 0
    assert [state for state, _ in done(study)] == ["completed"] * 4


def test_a_study_that_is_reached_by_a_link_resumes_with_its_own_checkpoints(finished: Path) -> None:
    study = longer(finished, 8)
    (finished / "elsewhere").mkdir()
    link = finished / "elsewhere" / "link.db"
    link.symlink_to(finished / DATABASE)
    assert call("run", study, "--store", f"sqlite:///{link}").returncode == 0
    assert all(trial["start"] >= 20 for trial in trials_of(study)[4:])
    assert os.listdir(link.parent) == ["link.db"]


def test_two_databases_whose_names_differ_after_the_dot_keep_their_own_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    study = longer(tmp_path, 4)
    one, other = (f"sqlite:///{tmp_path / name}" for name in ("x.db", "x.sqlite"))
    assert call("run", study, "--store", one).returncode == 0
    of_one = {path: path.read_bytes() for path in tmp_path.rglob("checkpoints/*/weights")}
    write_study(tmp_path, budget="trials = 8", trainer=(tmp_path / "train.sh").read_text().replace("weights=0", "weights=1000"))
    assert call("run", study, "--store", other).returncode == 0
    assert all(path.read_bytes() == content for path, content in of_one.items())
    assert all(trial["metrics"]["accuracy"] > 1000 for trial in trials_of(study, "--store", other))
