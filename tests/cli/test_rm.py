"""`broodline rm`: it deletes one study as a whole, and refuses while the study is trained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ENVIRONMENT, TRAINER, call, lines_of_json, output, started, states_in, write_study
from living import wait_for

PATIENT = "touch begun; until [ -e go ]; do sleep 0.02; done\n" + TRAINER


@pytest.fixture
def two_studies(tmp_path: Path) -> Path:
    """Two studies in one store."""
    path = write_study(tmp_path, trials=2)
    output("run", "study.toml", cwd=tmp_path)
    (tmp_path / "other.toml").write_text(path.read_text().replace('"digits"', '"letters"'))
    output("run", "other.toml", cwd=tmp_path)
    return tmp_path


def test_a_deleted_study_leaves_no_record_and_no_file_and_the_other_one_is_whole(two_studies: Path) -> None:
    (deleted,) = lines_of_json("rm", "study.toml", "--yes", cwd=two_studies)
    assert (deleted["study"], deleted["trials"]) == ("digits", 2)
    assert deleted["bytes"] > 0
    assert (states_in(two_studies), states_in(two_studies, "letters")) == ([], ["completed"] * 2)
    assert [path.name for path in (two_studies / "broodline.db.files").glob("*") if path.is_dir()] == ["letters"]
    assert Path(lines_of_json("best", "other.toml", cwd=two_studies)[0]["checkpoint"]).is_dir()
    again = call("rm", "study.toml", "--yes", cwd=two_studies)
    assert (again.returncode, "the store has no study 'digits' (its studies: letters)" in again.stderr) == (2, True)
    output("run", "study.toml", cwd=two_studies)
    assert states_in(two_studies) == ["completed"] * 2


def test_without_a_terminal_rm_deletes_nothing_unless_told_to(two_studies: Path) -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "broodline", "rm", "study.toml"],
        cwd=two_studies,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 2
    assert "study 'digits' has 2 trials, " in asked.stderr
    assert asked.stderr.endswith("nothing was deleted\nhelp: add --yes to delete it\n")
    assert states_in(two_studies) == ["completed"] * 2


@pytest.mark.parametrize(("answer", "status", "left"), [("n", 2, 2), ("yes", 0, 0)])
def test_in_a_terminal_rm_asks(two_studies: Path, answer: str, status: int, left: int) -> None:
    controller, terminal = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "broodline", "rm", "study.toml"],
        cwd=two_studies,
        env=ENVIRONMENT,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        os.write(controller, f"{answer}\n".encode())
        _, asked = process.communicate(timeout=60)
    os.close(controller)
    os.close(terminal)
    assert asked.startswith(b"Delete study 'digits' (2 trials, ")
    assert (process.returncode, len(states_in(two_studies))) == (status, left)


@pytest.mark.parametrize("trained_by", ["run", "worker"])
def test_a_study_that_is_trained_is_not_deleted(tmp_path: Path, trained_by: str) -> None:
    write_study(tmp_path, trials=2)
    output("run", "study.toml", cwd=tmp_path)
    write_study(tmp_path, trials=3, trainer=PATIENT)
    if trained_by == "worker":
        interrupted = started("run", "study.toml", cwd=tmp_path)
        wait_for((tmp_path / "begun").exists)
        interrupted.send_signal(signal.SIGTERM)
        interrupted.communicate(timeout=60)
        (tmp_path / "begun").unlink()
    busy = started(trained_by, "study.toml", cwd=tmp_path)
    wait_for((tmp_path / "begun").exists)
    refused = call("rm", "study.toml", "--yes", cwd=tmp_path)
    assert refused.returncode == 2
    assert "study 'digits' is " in refused.stderr
    (tmp_path / "go").touch()
    busy.communicate(timeout=60)
    assert (busy.returncode, states_in(tmp_path)) == (0, ["completed"] * 3)


def test_files_that_a_killed_rm_left_are_deleted_by_the_next_one(two_studies: Path) -> None:
    output("rm", "study.toml", "--yes", cwd=two_studies)
    (two_studies / "broodline.db.files" / "digits" / "logs").mkdir(parents=True)
    output("rm", "study.toml", "--yes", cwd=two_studies)
    assert not (two_studies / "broodline.db.files" / "digits").exists()
