"""What every trainer must do, whether a function, a program for each trial, or a program that stays does the training."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import toy
from assignments import PYTHON, SEES_US, assignment

from broodline.config.programs import Train
from broodline.core.trial import Measurement
from broodline.errors import LeaseLost, Preempted, Stopped, TrialFailed
from broodline.workers.trainers.base import Trainer
from broodline.workers.trainers.command import CommandTrainer
from broodline.workers.trainers.function import FunctionTrainer
from broodline.workers.trainers.resident import ResidentTrainer

PROGRAM = (PYTHON, str(Path(toy.__file__)))


def by_function(_directory: Path) -> Trainer:
    return FunctionTrainer(toy.as_function)


def by_command(directory: Path) -> Trainer:
    return CommandTrainer(Train(command=PROGRAM), cwd=directory)


def by_resident(directory: Path) -> Trainer:
    return ResidentTrainer(Train(command=PROGRAM, resident=True), cwd=directory)


@pytest.fixture(params=[by_function, by_command, by_resident])
def trainer(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trainer]:
    monkeypatch.setenv("PYTHONPATH", SEES_US["PYTHONPATH"])
    make: Callable[[Path], Trainer] = request.param
    made = make(tmp_path)
    yield made
    made.close()
    assert children() == []


def children() -> list[int]:
    """The processes that this one has started and that still run."""
    return [process.pid for process in psutil.Process().children(recursive=True)]


def train(
    trainer: Trainer, directory: Path, number: int, *, lr: float = 0.5, toy_does: dict[str, Any] | None = None, **given: Any
) -> list[Measurement]:
    return trainer.train(assignment(directory, number, params={"lr": lr, **(toy_does or {})}, **given))


def checkpoint(directory: Path, number: int) -> Path:
    return directory / f"save-{number}"


def saved(directory: Path, number: int) -> dict[str, float]:
    weights: dict[str, float] = json.loads((checkpoint(directory, number) / "weights").read_bytes())
    return weights


def expected(lrs: list[float]) -> float:
    """The weights after one step with each of these."""
    weights = 1.0
    for step, lr in enumerate(lrs, 1):
        weights += lr * (random.Random(step).random() - weights)
    return weights


def test_it_trains_the_steps_of_the_trial_and_returns_all_that_was_measured(trainer: Trainer, tmp_path: Path) -> None:
    measurements = train(trainer, tmp_path, 0, steps=4)
    weights = [measurement.metrics["weights"] for measurement in measurements[:4]]
    assert [measurement.step for measurement in measurements[:4]] == [1, 2, 3, 4]
    assert weights == [expected([0.5] * steps) for steps in range(1, 5)]
    assert measurements[-1] == Measurement(step=4, metrics={"weights": weights[-1]})
    assert saved(tmp_path, 0) == {"weights": weights[-1], "lr": 0.5}


def test_what_it_returns_begins_with_what_it_reported(trainer: Trainer, tmp_path: Path) -> None:
    heard: list[Measurement] = []
    measurements = train(trainer, tmp_path, 0, report=heard.append)
    assert len(heard) >= 3
    assert measurements[: len(heard)] == heard


def test_a_child_goes_on_from_the_bytes_of_its_parents_checkpoint(trainer: Trainer, tmp_path: Path) -> None:
    """Of two parents it takes the one that it was given, and its own params."""
    train(trainer, tmp_path, 0, lr=0.5)
    train(trainer, tmp_path, 1, lr=0.25)
    train(trainer, tmp_path, 2, lr=0.125, restore=checkpoint(tmp_path, 0), start=3, generation=1)
    train(trainer, tmp_path, 3, lr=0.125, restore=checkpoint(tmp_path, 1), start=3, generation=1)
    assert saved(tmp_path, 2) == {"weights": expected([0.5] * 3 + [0.125] * 3), "lr": 0.125}
    assert saved(tmp_path, 3) == {"weights": expected([0.25] * 3 + [0.125] * 3), "lr": 0.125}


def test_stopping_and_going_on_equals_an_uninterrupted_run(trainer: Trainer, tmp_path: Path) -> None:
    whole = train(trainer, tmp_path, 0, steps=6)
    parts = train(trainer, tmp_path, 1, steps=2)
    parts += train(trainer, tmp_path, 2, steps=3, restore=checkpoint(tmp_path, 1), start=2, generation=1)
    parts += train(trainer, tmp_path, 3, steps=1, restore=checkpoint(tmp_path, 2), start=5, generation=2)
    assert {m.step: m.metrics for m in parts} == {m.step: m.metrics for m in whole}
    assert (checkpoint(tmp_path, 3) / "weights").read_bytes() == (checkpoint(tmp_path, 0) / "weights").read_bytes()


def test_the_parents_checkpoint_stays_as_it_was(trainer: Trainer, tmp_path: Path) -> None:
    train(trainer, tmp_path, 0)
    before = (checkpoint(tmp_path, 0) / "weights").read_bytes()
    train(trainer, tmp_path, 1, restore=checkpoint(tmp_path, 0), start=3)
    assert [path.name for path in checkpoint(tmp_path, 0).iterdir()] == ["weights"]
    assert (checkpoint(tmp_path, 0) / "weights").read_bytes() == before


def test_a_preempted_trial_can_be_trained_again_from_its_beginning(trainer: Trainer, tmp_path: Path) -> None:
    def preempt(_: Measurement) -> None:
        raise Preempted

    with pytest.raises(Preempted):
        train(trainer, tmp_path, 0, toy_does={"misbehave": "never end"}, report=preempt)
    train(trainer, tmp_path, 1, attempt=2)
    assert saved(tmp_path, 1)["weights"] == expected([0.5] * 3)


@pytest.mark.parametrize(
    ("misbehaviour", "reason"),
    [
        ({"misbehave": "raise"}, "ValueError: kaboom|exit status 1"),
        ({"misbehave": "exit"}, "SystemExit: 3|exit status 3"),
        ({"final": {"step": 3, "weights": math.nan}}, "no metric of the last measurement is a finite number: weights = nan"),
        ({"final": {"step": 3, "weights": math.inf}}, "no metric of the last measurement is a finite number: weights = inf"),
        ({"final": {"step": 3, "weights": "0.5"}}, "no metric of the last measurement is a finite number: weights = '0.5'"),
        ({"final": {"step": 0, "weights": 0.5}}, "reported step 0, but this trial starts at step 0"),
        ({"final": {"step": 1.5, "weights": 0.5}}, "step 1.5 is not a whole number"),
    ],
    ids=str,
)
def test_a_trial_that_fails_says_why_and_the_next_one_is_trained(
    trainer: Trainer, tmp_path: Path, misbehaviour: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TrialFailed, match=reason):
        train(trainer, tmp_path, 0, toy_does=misbehaviour)
    assert train(trainer, tmp_path, 1)[-1].metrics == {"weights": expected([0.5] * 3)}


def test_where_it_failed_is_in_what_is_kept(trainer: Trainer, tmp_path: Path) -> None:
    with pytest.raises(TrialFailed) as failed:
        train(trainer, tmp_path, 0, toy_does={"misbehave": "raise"})
    assert "kaboom" in failed.value.output
    assert "toy.py" in failed.value.output


@pytest.mark.parametrize("error", [Stopped, Preempted, LeaseLost])
def test_a_report_can_end_the_trial_and_all_that_trains_it(trainer: Trainer, tmp_path: Path, error: type[BaseException]) -> None:
    def end(_: Measurement) -> None:
        raise error("enough")

    with pytest.raises(error, match="enough"):
        train(trainer, tmp_path, 0, toy_does={"misbehave": "never end"}, report=end)
    assert children() == []
    assert train(trainer, tmp_path, 1)[-1].metrics == {"weights": expected([0.5] * 3)}


def test_it_leaves_nothing_in_the_temporary_directory(trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    train(trainer, tmp_path, 0)
    with pytest.raises(TrialFailed):
        train(trainer, tmp_path, 1, toy_does={"misbehave": "raise"})
    assert os.listdir(scratch) == []


def test_closing_twice_does_no_harm(trainer: Trainer, tmp_path: Path) -> None:
    train(trainer, tmp_path, 0)
    trainer.close()
    trainer.close()
