"""`best` with equal trials, and `best --reevaluate`: which trials it takes, and how resident programs and functions do it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import living
import pytest
from commands import ENVIRONMENT, TRAINER, call, lines_of_json, output, write_study

import broodline
from broodline.errors import UsageError

CAPPED = TRAINER.replace('\\"accuracy\\": $weights', '\\"accuracy\\": 1')

RESIDENT = """\
import broodline

for trial in broodline.trials():
    with trial:
        before = float((trial.restore_from / "weights").read_text()) if trial.restore_from else 0.0
        weights = before + TRAINED
        (trial.save_to / "weights").write_text(str(weights))
        with open("seeds", "a") as seeds:
            seeds.write(f"{trial.seed} {trial.steps} {before}\\n")
        trial.report(accuracy=weights)
"""


def test_of_equal_trials_the_most_trained_is_best_keeps_its_checkpoint_and_their_number_is_said(tmp_path: Path) -> None:
    write_study(tmp_path, trials=6, trainer=CAPPED)
    output("run", "study.toml", cwd=tmp_path)
    trials = lines_of_json("trials", "study.toml", cwd=tmp_path)
    (best,) = lines_of_json("best", "study.toml", cwd=tmp_path)
    assert best["number"] == max(trials, key=lambda trial: (trial["start"] + trial["steps"], trial["number"]))["number"]
    assert (Path(best["checkpoint"]) / "weights").read_text() == f"{best['start'] + best['steps']}\n"
    assert best["tied"] == 6
    assert "6 trials have the best fitness; the most trained of them is best" in output("best", "study.toml", cwd=tmp_path)


def test_a_best_trial_without_equals_says_nothing_of_them(tmp_path: Path) -> None:
    write_study(tmp_path, trials=3)
    output("run", "study.toml", cwd=tmp_path)
    (best,) = lines_of_json("best", "study.toml", cwd=tmp_path)
    assert best["tied"] == 1
    assert "best fitness" not in output("best", "study.toml", cwd=tmp_path)


def resident_study(directory: Path, trained: str = "trial.steps") -> None:
    (directory / "resident.py").write_text(RESIDENT.replace("TRAINED", trained))
    path = write_study(directory, trials=8)
    command = json.dumps([sys.executable, "resident.py"])
    path.write_text(path.read_text().replace('["sh", "train.sh"]', command) + "resident = true\n")
    output("run", "study.toml", cwd=directory)
    (directory / "seeds").unlink()


def test_a_resident_program_evaluates_the_best_that_still_have_a_checkpoint(tmp_path: Path) -> None:
    resident_study(tmp_path)
    saved = [trial for trial in lines_of_json("trials", "study.toml", cwd=tmp_path) if trial["checkpoint"]]
    fittest = sorted(saved, key=lambda trial: (-trial["fitness"], -trial["start"], -trial["number"]))
    done = call("best", "study.toml", "--reevaluate", 5, "--times", 3, "--json", cwd=tmp_path)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [trial["number"] for trial in found] == [trial["number"] for trial in fittest[:5]]
    assert all(trial["reevaluated"] == {"times": 3, "mean": trial["fitness"], "spread": 0.0} for trial in found)
    assert ("have lost their checkpoints" in done.stderr) is (len(saved) < 5)
    asked = [line.split() for line in (tmp_path / "seeds").read_text().splitlines()]
    assert len({seed for seed, _, _ in asked}) == len(asked) == 3 * len(found)
    assert {steps for _, steps, _ in asked} == {"0"}


def test_a_program_that_trains_instead_of_evaluating_is_refused(tmp_path: Path) -> None:
    resident_study(tmp_path, "10")
    done = call("best", "study.toml", "--reevaluate", 1, cwd=tmp_path)
    assert done.returncode == 2
    assert "the program trained, though it was asked for 0 steps: add [evaluate]" in done.stderr


def train(trial: broodline.RunningTrial) -> Mapping[str, Any]:
    before = float((trial.restore_from / "weights").read_text()) if trial.restore_from else 0.0
    (trial.save_to / "weights").write_text(str(before + trial.steps))
    return {"accuracy": before + trial.steps + (0 if trial.steps else trial.seed % 2)}


def digits(directory: Path) -> broodline.Study:
    return broodline.Study(
        name="digits",
        space={"lr": broodline.Float(1e-4, 1.0, log=True)},
        objective={"accuracy": "maximize"},
        trial_steps=10,
        population=2,
        store=f"sqlite:///{directory / 'broodline.db'}",
    )


def test_a_function_evaluates_the_best_again_with_fresh_seeds(tmp_path: Path) -> None:
    study = digits(tmp_path)
    best = study.run(train, budget=broodline.Budget(trials=6), show=False).best
    (first, _) = study.reevaluate(train, count=2, times=8)
    assert first.trial.number == best.trial.number
    assert {value for (value,) in first.fitnesses} == {best.fitness, best.trial.end + 1.0}
    done = call("best", "digits", "--store", f"sqlite:///{tmp_path / 'broodline.db'}", "--reevaluate", 1)
    assert done.returncode == 2
    assert "study.reevaluate(train)" in done.stderr
    with pytest.raises(UsageError, match="must be a function"):
        study.reevaluate(None)  # type: ignore[arg-type]


NOTES = 'echo "$BROODLINE_DEVICES $CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS" >> facts\n'


def test_an_evaluation_has_the_devices_and_threads_of_the_study_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "OMP_NUM_THREADS"):
        monkeypatch.delitem(ENVIRONMENT, name, raising=False)
    monkeypatch.setitem(ENVIRONMENT, "CUDA_VISIBLE_DEVICES", "5,6")
    more = '[evaluate]\ncommand = ["sh", "evaluate.sh"]\n[engine]\ndevices = ["1"]\nthreads = 3\n'
    (tmp_path / "evaluate.sh").write_text(NOTES + 'echo "{\\"accuracy\\": 1}" >> "$BROODLINE_METRICS"\n')
    write_study(tmp_path, trials=2, more=more)
    output("run", "study.toml", cwd=tmp_path)
    (tmp_path / "facts").unlink()
    output("best", "study.toml", "--reevaluate", 1, "--times", 1, cwd=tmp_path)
    assert (tmp_path / "facts").read_text() == "6 6 3\n"
    (tmp_path / "study.toml").write_text((tmp_path / "study.toml").read_text().replace('["1"]', '["7"]'))
    done = call("best", "study.toml", "--reevaluate", 1, cwd=tmp_path)
    assert done.returncode == 2
    assert "device '7' is not one of those that are visible here" in done.stderr


def test_a_function_that_evaluates_again_has_the_devices_that_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    study = digits(tmp_path)
    study.run(train, budget=broodline.Budget(trials=2), show=False)
    seen: list[tuple[tuple[str, ...], str]] = []

    def noted(trial: broodline.RunningTrial) -> Mapping[str, Any]:
        seen.append((trial.devices, os.environ["CUDA_VISIBLE_DEVICES"]))
        return train(trial)

    study.reevaluate(noted, times=1, devices=[6])
    assert seen == [(("6",), "6")]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,6"


HELD = """\
if [ -e hold ]; then touch held; while [ -e hold ]; do sleep 0.02; done; fi
echo "{\\"accuracy\\": 1}" >> "$BROODLINE_METRICS"
"""


def test_an_evaluation_outlives_the_worker_that_trained_the_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "evaluate.sh").write_text(HELD)
    more = '[evaluate]\ncommand = ["sh", "evaluate.sh"]\n'
    study = living.write_study(tmp_path, budget="trials = 6", more=more)
    with living.running("run", study, cwd=tmp_path, FREE="2") as run:
        living.wait_for(lambda: len(living.begun(tmp_path)) == 3)
        (tmp_path / "hold").touch()
        with living.running("best", study, "--reevaluate", 1, "--times", 1, cwd=tmp_path) as best:
            living.wait_for((tmp_path / "held").exists)
            assert living.interrupted(run, signal.SIGTERM) == 130
            (tmp_path / "hold").unlink()
            assert best.end() == 0, best.said
