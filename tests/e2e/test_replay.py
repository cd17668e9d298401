"""Replays with real workers: the same bytes, parts of a schedule, other programs, copies, kills, mistakes."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from commands import call, lines_of_json, output
from living import running, trials_of, wait_for

import broodline

# Its weights are all that it was told, line by line: the same weights mean the same params, seeds and steps throughout.
TRAINER = """\
set -eu
if [ -n "${BROODLINE_RESTORE:-}" ]; then cat "$BROODLINE_RESTORE/weights" > "$BROODLINE_SAVE/weights"; fi
if [ "$BROODLINE_GENERATION" -ge 2 ] && [ -e hold ]; then
  touch held
  while [ -e hold ]; do sleep 0.02; done
fi
echo "$BROODLINE_START $BROODLINE_STEPS $BROODLINE_SEED $(tr -d '\\n' < "$BROODLINE_PARAMS")" >> "$BROODLINE_SAVE/weights"
echo "{\\"step\\": $((BROODLINE_START + BROODLINE_STEPS)), \\"score\\": $((BROODLINE_SEED % 1000))}" >> "$BROODLINE_METRICS"
"""
STUDY = """\
name = "toy"
trial_steps = 7
population = 3
workers = 2
[objective]
score = "maximize"
[budget]
generations = 4
[space]
lr = { float = [1e-4, 1.0], log = true }
wd = { float = [0.0, 1.0] }
optimizer = { choice = ["sgd", "adam"] }
momentum = { float = [0.0, 1.0], when = { optimizer = "sgd" } }
width = 64
[evolution]
mutate = 1.0
resample = 0.5
[train]
command = ["sh", "train.sh"]
"""


@pytest.fixture(scope="module", name="trained")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    (folder / "train.sh").write_text(TRAINER)
    (folder / "study.toml").write_text(STUDY)
    output("run", "study.toml", "--json", cwd=folder)
    return folder


@pytest.fixture(name="folder")
def copied(trained: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    shutil.copytree(trained, folder)
    return folder


def source_of(folder: Path) -> dict[str, Any]:
    (best,) = lines_of_json("best", "study.toml", cwd=folder)
    return dict(best)


def lineage_of(folder: Path) -> list[dict[str, Any]]:
    """The best lineage of the source, the first trial first."""
    return list(reversed(lines_of_json("lineage", "study.toml", cwd=folder)))


def weights(folder: Path, checkpoint: str) -> str:
    return (folder / checkpoint / "weights").read_text()


def replayed(folder: Path, *arguments: object) -> dict[str, Any]:
    (document,) = lines_of_json("replay", "study.toml", *arguments, cwd=folder)
    return dict(document)


def copies_of(folder: Path, name: str) -> list[list[dict[str, Any]]]:
    """The trials of each copy of a replay, in order."""
    trials = trials_of(name, "--store", f"sqlite:///{folder / 'broodline.db'}")
    members = range(1 + max(trial["member"] for trial in trials))
    return [[trial for trial in trials if trial["member"] == member] for member in members]


def test_with_recorded_seeds_a_deterministic_trainer_gives_the_same_bytes(folder: Path) -> None:
    best = source_of(folder)
    told = replayed(folder)
    assert told["study"] == f"toy-replay-{best['number']}"
    assert weights(folder, told["checkpoints"][0]) == weights(folder, best["checkpoint"])
    assert told["replay"] == {
        "study": "toy",
        "trial": best["number"],
        "copies": 1,
        "only": None,
        "set": {},
        "seeds": "recorded",
    }
    rows = [row["metrics"]["score"] for row in told["comparison"]]
    assert [row["copies"] for row in rows] == [[row["source"]] for row in rows]
    assert [row["trial"] for row in told["comparison"]] == [trial["number"] for trial in lineage_of(folder)]


def test_the_terminal_shows_the_replay_and_its_comparison(folder: Path) -> None:
    best = source_of(folder)
    said = output("replay", "study.toml", cwd=folder)
    assert f"replay of trial {best['number']} of study 'toy'" in said
    assert "source: score" in said
    status = output("status", f"toy-replay-{best['number']}", "--store", "sqlite:///broodline.db", cwd=folder)
    assert f"replay of trial {best['number']} of study 'toy'" in status


def test_any_completed_trial_can_be_replayed(folder: Path) -> None:
    told = replayed(folder, "--trial", "4")
    (own,) = copies_of(folder, told["study"])
    assert own[-1]["params"] == trials_of(folder / "study.toml")[4]["params"]
    assert told["replay"]["trial"] == 4


def test_fresh_seeds_differ_and_the_schedule_is_the_same(folder: Path) -> None:
    best = source_of(folder)
    told = replayed(folder, "--seeds", "fresh")
    ours, source = (weights(folder, path).splitlines() for path in (told["checkpoints"][0], best["checkpoint"]))
    assert [line.split()[:2] for line in ours] == [line.split()[:2] for line in source]
    assert not {line.split()[2] for line in ours} & {line.split()[2] for line in source}


def test_copies_train_concurrently_and_the_first_has_the_recorded_seeds(folder: Path) -> None:
    best = source_of(folder)
    told = replayed(folder, "--copies", "3", "--workers", "3")
    found = [weights(folder, path) for path in told["checkpoints"]]
    assert len(set(found)) == 3
    assert found[0] == weights(folder, best["checkpoint"])
    lineage = [trial["params"] for trial in lineage_of(folder)]
    assert [[trial["params"] for trial in own] for own in copies_of(folder, told["study"])] == [lineage] * 3


def test_parameters_that_do_not_follow_keep_their_first_value(folder: Path) -> None:
    lineage = [trial["params"] for trial in lineage_of(folder)]
    (own,) = copies_of(folder, replayed(folder, "--only", "lr")["study"])
    assert [trial["params"] for trial in own] == [{**lineage[0], "lr": params["lr"]} for params in lineage]
    assert len({trial["params"]["wd"] for trial in own}) == 1 < len({params["wd"] for params in lineage})


def test_a_fixed_parameter_keeps_its_value(folder: Path) -> None:
    lineage = [trial["params"] for trial in lineage_of(folder)]
    (own,) = copies_of(folder, replayed(folder, "--set", "wd=7.5", "--set", "width=128")["study"])
    assert [trial["params"] for trial in own] == [{**params, "wd": 7.5, "width": 128} for params in lineage]


def test_another_program_trains_along_the_schedule(folder: Path) -> None:
    (folder / "final").mkdir()
    (folder / "final" / "train.sh").write_text(TRAINER.replace("score", 'score\\": 5000, \\"other'))
    (folder / "final" / "final.toml").write_text("[train]\ncommand = ['sh', 'train.sh']\n[checkpoints]\nkeep_all = true\n")
    told = replayed(folder, "--with", "final/final.toml")
    (own,) = copies_of(folder, told["study"])
    assert {trial["fitness"] for trial in own} == {5000}
    assert all(trial["checkpoint"] for trial in own)


def test_a_killed_replay_resumes_without_its_source(folder: Path) -> None:
    best = source_of(folder)
    expected = weights(folder, best["checkpoint"])
    (folder / "hold").touch()
    with running("replay", "study.toml", "--name", "again", cwd=folder) as run:
        wait_for((folder / "held").exists, "the third leg")
        run.kill()
    with sqlite3.connect(folder / "broodline.db") as database:
        for table in ("measurements", "trials"):
            database.execute(f"DELETE FROM {table} WHERE study = (SELECT id FROM studies WHERE name = 'toy')")
        database.execute("DELETE FROM studies WHERE name = 'toy'")
    database.close()
    shutil.rmtree(folder / "broodline.db.files" / "toy")
    (folder / "hold").unlink()
    told = replayed(folder, "--name", "again")
    assert weights(folder, told["checkpoints"][0]) == expected
    (own,) = copies_of(folder, "again")
    assert [trial["attempt"] for trial in own[:3]] == [1, 1, 2]


def test_the_same_command_after_the_end_does_nothing_more(folder: Path) -> None:
    first, second = replayed(folder), replayed(folder)
    assert first["trials"] == second["trials"]
    assert first["checkpoints"] == second["checkpoints"]


def test_another_worker_joins_a_replay(folder: Path) -> None:
    (folder / "hold").touch()
    with running("replay", "study.toml", "--name", "again", "--copies", "2", "--workers", "1", cwd=folder) as run:
        wait_for((folder / "held").exists, "the third leg")
        with running("worker", "study.toml", "--replay", "again", cwd=folder) as other:
            wait_for(lambda: len(copies_of(folder, "again")) == 2, "the other copy")
            (folder / "hold").unlink()
            assert (run.end(), other.end()) == (0, 0), run.said + other.said
            assert "raise the [budget]" not in other.said
    assert len({trial["worker"] for own in copies_of(folder, "again") for trial in own}) == 2


def test_a_corrupt_checkpoint_does_not_change_the_result(folder: Path) -> None:
    best = source_of(folder)
    (folder / "hold").touch()
    with running("replay", "study.toml", "--name", "again", cwd=folder) as run:
        wait_for((folder / "held").exists, "the third leg")
        run.kill()
    (folder / "broodline.db.files" / "again" / "checkpoints" / "000001.1" / "weights").write_text("")
    (folder / "hold").unlink()
    told = replayed(folder, "--name", "again")
    assert weights(folder, told["checkpoints"][0]) == weights(folder, best["checkpoint"])
    (own,) = copies_of(folder, "again")
    assert len(own) == len(lineage_of(folder)) + 1


def test_a_failed_copy_ends_and_the_replay_fails_if_all_copies_fail(folder: Path) -> None:
    (folder / "train.sh").write_text('[ "$BROODLINE_GENERATION" -lt 2 ] || exit 3\n' + TRAINER)
    done = call("replay", "study.toml", "--copies", "2", cwd=folder)
    assert done.returncode == 1
    assert "no copy came to the end" in done.stderr
    number = source_of(folder)["number"]
    assert [[t["state"] for t in own] for own in copies_of(folder, f"toy-replay-{number}")] == [
        ["completed"] * 2 + ["failed"]
    ] * 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--trial", "999"], "no trial 999"),
        (["--only", "lr,momntum"], "did you mean 'momentum'"),
        (["--set", "nothing=3"], "no parameter 'nothing'"),
        (["--set", "wd"], "NAME=VALUE"),
        (["--name", "toy"], "is not a replay of 'toy'"),
        (["--name", "a b"], "name: must be 1 to 100 letters"),
        (["--with", "nowhere.toml"], "no such file"),
    ],
)
def test_a_mistake_is_one_clear_error_and_nothing_is_created(folder: Path, arguments: list[str], told: str) -> None:
    done = call("replay", "study.toml", *arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    with sqlite3.connect(folder / "broodline.db") as database:
        assert database.execute("SELECT name FROM studies").fetchall() == [("toy",)]
    database.close()


def test_a_replay_with_other_options_is_not_resumed(folder: Path) -> None:
    replayed(folder, "--set", "wd=0.5", "--name", "again")
    done = call("replay", "study.toml", "--set", "wd=0.6", "--name", "again", cwd=folder)
    assert done.returncode == 2
    assert "set: {'wd': 0.5} -> {'wd': 0.6}" in done.stderr


def test_a_study_without_completed_trials_can_not_be_replayed(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "train.sh").write_text("exit 3")
    assert call("run", "study.toml", cwd=tmp_path).returncode == 1
    done = call("replay", "study.toml", cwd=tmp_path)
    assert (done.returncode, "no trial has completed" in done.stderr) == (2, True)
    failed = call("replay", "study.toml", "--trial", "0", cwd=tmp_path)
    assert (failed.returncode, "only a completed trial" in failed.stderr) == (2, True)


def test_study_replay_does_the_same_in_python(tmp_path: Path) -> None:
    def train(trial: Any) -> dict[str, float]:
        before = json.loads((trial.restore_from / "weights").read_text()) if trial.restore_from else []
        (trial.save_to / "weights").write_text(json.dumps([*before, [trial.start, trial.steps, trial.seed, dict(trial.params)]]))
        return {"score": trial.seed % 1000}

    study = broodline.Study(
        name="toy",
        space={"lr": broodline.Float(1e-4, 1.0, log=True), "wd": broodline.Float(0.0, 1.0)},
        objective={"score": "maximize"},
        trial_steps=5,
        population=3,
        store=f"sqlite:///{tmp_path / 'broodline.db'}",
    )
    with pytest.raises(broodline.errors.BroodlineError):
        study.replay(train, show=False)
    best = study.run(train, budget=broodline.Budget(generations=3), show=False).best
    again = study.replay(train, show=False)
    assert best.checkpoint is not None
    ends = [trial for trial in again.trials if trial.end == best.trial.end]
    checkpoint = tmp_path / "broodline.db.files" / f"toy-replay-{best.trial.number}" / str(ends[0].checkpoint)
    assert (checkpoint / "weights").read_bytes() == (best.checkpoint / "weights").read_bytes()
    part = study.replay(train, only=["lr"], fixed={"wd": 3.0}, copies=2, name="part", show=False)
    assert {trial.params["wd"] for trial in part.trials} == {3.0}
