"""`broodline continue`: from the best checkpoint with its params, on one worker, as a study of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import ENVIRONMENT, call, lines_of_json, output, write_study
from living import running, wait_for

from broodline.storage.checkpoints.manifest import MANIFEST
from broodline.storage.location import StudyLocation

# Its weights are the steps that made them; the even members of generation 0 are the better ones. It waits for nobody.
TRAINER = """\
set -eu
weights=0
if [ -n "${BROODLINE_RESTORE:-}" ]; then weights=$(cat "$BROODLINE_RESTORE/weights"); fi
[ "$weights" = "$BROODLINE_START" ]
weights=$((weights + BROODLINE_STEPS))
echo "$weights" > "$BROODLINE_SAVE/weights"
cp "$BROODLINE_PARAMS" "$BROODLINE_SAVE/params.json"
echo "{\\"accuracy\\": $weights}" >> "$BROODLINE_METRICS"
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("trained")
    write_study(directory, trainer=TRAINER)
    output("run", "study.toml", cwd=directory)
    return directory


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    """Where a study has been run; its best lineage has three trials."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


def trials_of(folder: Path, name: str = "digits-continued") -> list[dict[str, Any]]:
    return lines_of_json("trials", name, "--store", StudyLocation(url=f"sqlite:///{folder / 'broodline.db'}").url)


def best_of(folder: Path) -> dict[str, Any]:
    (best,) = lines_of_json("best", "study.toml", cwd=folder)
    return dict(best)


def test_it_trains_on_from_the_best_checkpoint_with_its_params(folder: Path) -> None:
    best = best_of(folder)
    (told,) = lines_of_json("continue", "study.toml", "--steps", 40, cwd=folder)
    assert (told["study"], told["state"]) == ("digits-continued", "done")
    trials = trials_of(folder)
    copied, trained = trials[:3], trials[3:]
    assert [(trial["start"], trial["steps"], trial["attempt"]) for trial in copied] == [(0, 10, 0), (10, 10, 0), (20, 10, 0)]
    assert (copied[-1]["params"], copied[-1]["metrics"]) == (best["params"], best["metrics"])
    assert [(trial["start"], trial["steps"]) for trial in trained] == [(30, 10), (40, 10), (50, 10), (60, 10)]
    assert [trial["parent"] for trial in trials] == [None, *range(6)]
    assert all(trial["state"] == "completed" and trial["params"] == best["params"] for trial in trained)
    weights = Path(trained[-1]["checkpoint"]) / "weights"  # what was trained, not what was recorded
    assert weights.read_text() == "70\n"


def test_its_schedule_and_lineage_reach_back_to_the_first_step(folder: Path) -> None:
    (before,) = lines_of_json("schedule", "study.toml", cwd=folder)
    output("continue", "study.toml", "--steps", 10, cwd=folder)
    (after,) = lines_of_json("schedule", "digits-continued", "--store", "sqlite:///broodline.db", cwd=folder)
    assert after["segments"] == before["segments"]
    assert (before["end"], after["end"]) == (30, 40)


def test_the_copied_checkpoint_has_the_checksums_that_the_study_asks_for(folder: Path) -> None:
    with (folder / "study.toml").open("a") as file:
        file.write("[checkpoints]\nchecksums = true\n")
    output("continue", "study.toml", "--steps", 10, cwd=folder)
    copied, trained = [json.loads((Path(trial["checkpoint"]) / MANIFEST).read_bytes()) for trial in trials_of(folder)[2:]]
    assert list(copied["sha256"]) == list(trained["sha256"])


def test_the_study_that_it_comes_from_stays_as_it_was(folder: Path) -> None:
    before = output("export", "study.toml", cwd=folder)
    output("continue", "study.toml", "--steps", 20, cwd=folder)
    assert output("export", "study.toml", cwd=folder) == before
    assert (Path(best_of(folder)["checkpoint"]) / "weights").read_text() == "30\n"


def test_the_same_command_goes_on_and_more_steps_train_more(folder: Path) -> None:
    output("continue", "study.toml", "--steps", 20, cwd=folder)
    shown = output("continue", "study.toml", "--steps", 20, cwd=folder)
    assert len(trials_of(folder)) == 5
    assert "this run trained nothing" in shown
    assert "to train longer:  repeat the command with more --steps" in shown
    output("continue", "study.toml", "--steps", 30, cwd=folder)
    assert [trial["start"] for trial in trials_of(folder)] == [0, 10, 20, 30, 40, 50]


def test_it_may_go_on_from_any_trial_under_any_name_in_other_trials(folder: Path) -> None:
    best = best_of(folder)
    other = next(
        trial
        for trial in lines_of_json("trials", "study.toml", cwd=folder)
        if trial["checkpoint"] and trial["number"] != best["number"]
    )
    output("continue", "study.toml", "--steps", 10, "--trial", other["number"], cwd=folder)
    trials = trials_of(folder, f"digits-continued-{other['number']}")
    assert trials[-1]["params"] == other["params"]
    output("continue", "study.toml", "--steps", 10, "--trial-steps", 5, "--name", "finish", cwd=folder)
    assert [trial["steps"] for trial in trials_of(folder, "finish")] == [10, 10, 10, 5, 5]


def test_what_went_on_from_one_trial_is_not_taken_for_another_ones(folder: Path) -> None:
    best, *others = [trial["number"] for trial in trials_of(folder, "digits")[::-1]]
    begin = ("continue", "study.toml", "--trial", best, "--name", "further", "--steps")
    output(*begin, 10, cwd=folder)
    output(*begin, 20, cwd=folder)
    before = trials_of(folder, "further")
    done = call("continue", "study.toml", "--trial", others[0], "--name", "further", "--steps", 30, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"study 'further' continues another trial than {others[0]}\nhelp: choose another name with --name" in done.stderr
    assert trials_of(folder, "further") == before


def test_a_trial_that_fails_is_trained_again_from_the_last_that_completed(folder: Path) -> None:
    flaky = TRAINER + '[ "$BROODLINE_START" != 40 ] || [ -e seen ] || { touch seen; exit 3; }\n'
    (folder / "train.sh").write_text(flaky)
    output("continue", "study.toml", "--steps", 40, cwd=folder)
    trained = [(trial["state"], trial["start"]) for trial in trials_of(folder)[3:]]
    assert trained == [("completed", 30), ("failed", 40), ("completed", 40), ("completed", 50)]
    assert {trial["params"]["lr"] for trial in trials_of(folder)[3:]} == {best_of(folder)["params"]["lr"]}


def test_killed_it_goes_on_where_it_was(folder: Path) -> None:
    waiting = TRAINER + 'while [ "$BROODLINE_START" = 40 ] && [ ! -e go ]; do touch waits; sleep 0.05; done\n'
    (folder / "train.sh").write_text(waiting)
    with running("continue", "study.toml", "--steps", "40", cwd=folder) as first:
        wait_for(lambda: (folder / "waits").exists())
        first.kill()
    (folder / "go").touch()
    output("continue", "study.toml", "--steps", "40", cwd=folder)
    trials = trials_of(folder)
    assert [(trial["start"], trial["state"]) for trial in trials[3:]] == [(start, "completed") for start in (30, 40, 50, 60)]
    assert trials[4]["attempt"] == 2


def test_a_crash_before_the_copy_was_recorded_leaves_nothing_in_the_way(folder: Path) -> None:
    crash = """
import os, signal, sys
from broodline.storage.sql.transaction import SqlTransaction
SqlTransaction.save_progress = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from broodline.cli import main
main(sys.argv[1:])
"""
    command = [sys.executable, "-c", crash, "continue", "study.toml", "--steps", "10"]
    assert subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True).returncode == -9
    assert trials_of(folder) == []
    output("continue", "study.toml", "--steps", "10", cwd=folder)
    assert [trial["start"] for trial in trials_of(folder)] == [0, 10, 20, 30]


def test_stop_shows_how_to_resume_it(folder: Path) -> None:
    output("continue", "study.toml", "--steps", "10", cwd=folder)
    shown = output("stop", "digits-continued", "--store", StudyLocation(url=f"sqlite:///{folder / 'broodline.db'}").url)
    assert "to resume:  repeat the `broodline continue` command that made it" in shown


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (("--trial", "0"), "the checkpoint of trial 0 was deleted\nhelp: choose another trial"),
        (("--trial", "99"), "the study has no trial 99"),
        (("--name", "a b"), "name: must be 1 to 100 letters"),
        (("--name", "digits"), "study 'digits' exists and is not a continuation"),
    ],
)
def test_what_can_not_be_gone_on_from_is_told(arguments: tuple[str, ...], saying: str, folder: Path) -> None:
    before = sorted(path for path in folder.rglob("*") if "broodline.db" not in path.name)
    done = call("continue", "study.toml", "--steps", "10", *arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert saying in done.stderr
    assert sorted(path for path in folder.rglob("*") if "broodline.db" not in path.name) == before


def test_a_checkpoint_that_is_damaged_is_told(folder: Path) -> None:
    (Path(best_of(folder)["checkpoint"]) / "weights").unlink()
    done = call("continue", "study.toml", "--steps", "10", cwd=folder)
    assert done.returncode == 2
    assert "can't be resumed" in done.stderr


def test_one_whose_first_checkpoint_is_damaged_ends_rather_than_begin_from_nothing(folder: Path) -> None:
    trainer = (folder / "train.sh").read_text()
    (folder / "train.sh").write_text("touch waits; while :; do sleep 0.05; done\n")
    with running("continue", "study.toml", "--steps", "10", cwd=folder) as first:
        wait_for(lambda: (folder / "waits").exists())
        first.kill()
    (folder / "train.sh").write_text(trainer)
    (copy,) = [trial["checkpoint"] for trial in trials_of(folder) if trial["checkpoint"]]
    (Path(copy) / "weights").unlink()
    for _ in range(2):
        done = call("continue", "study.toml", "--steps", "10", cwd=folder)
        assert done.returncode == 1
        assert "the checkpoint from which it resumes is corrupt; make another continuation" in done.stderr
        assert [(trial["start"], trial["state"]) for trial in trials_of(folder)[3:]] == [(30, "pending")]
