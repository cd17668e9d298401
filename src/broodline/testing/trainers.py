"""The contract of a trainer: what `workers.trainers.base.Trainer` promises, as tests with a deterministic toy."""

from __future__ import annotations

import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broodline.core.trial import Measurement, Trial
from broodline.errors import LeaseLost, Preempted, Stopped, TrialFailed
from broodline.testing.toy import weights_after
from broodline.workers.trainers.base import Assignment, Trainer
from broodline.workers.trainers.process_tree import children

_MISBEHAVIOUR = [
    ({"misbehave": "raise"}, "ValueError: kaboom|exit status 1"),
    ({"misbehave": "exit"}, "SystemExit: 3|exit status 3"),
    ({"final": {"step": 3, "weights": math.nan}}, "no metric of the last measurement is a finite number: weights = nan"),
    ({"final": {"step": 3, "weights": math.inf}}, "no metric of the last measurement is a finite number: weights = inf"),
    ({"final": {"step": 3, "weights": "0.5"}}, "no metric of the last measurement is a finite number: weights = '0.5'"),
    ({"final": {"step": 0, "weights": 0.5}}, "reported step 0, but this trial starts at step 0"),
    ({"final": {"step": 1.5, "weights": 0.5}}, "step must be an integer from 0 on, got 1.5"),
]


def assignment_in(
    directory: Path,
    number: int = 0,
    *,
    restore: Path | None = None,
    report: Callable[[Measurement], None] = lambda _: None,
    **of_trial: Any,
) -> Assignment:
    """An attempt at a trial of 3 steps, whose files are in a directory and named by its number."""
    save = checkpoint_in(directory, number)
    save.mkdir()
    trial = Trial(number=number, **{"member": 0, "generation": 0, "params": {}, "steps": 3, "attempt": 1, **of_trial})
    log = directory / f"{number}.log"
    return Assignment(trial=trial, restore=restore, save=save, log=log, worker="4", devices=(), report=report)


def checkpoint_in(directory: Path, number: int) -> Path:
    """The directory that a trial of `assignment_in` saves in."""
    return directory / f"save-{number}"


class TrainerContract(ABC):
    """Subclass it as `TestMyTrainer` and return a trainer of the toy in `broodline.testing.toy`."""

    @abstractmethod
    def trainer(self, directory: Path) -> Trainer:
        """Makes a trainer of the toy; its programs run in a directory."""

    @pytest.fixture
    def made(self, tmp_path: Path) -> Iterator[Trainer]:
        """The trainer; after each test it is closed, and no process that it started runs."""
        before = children()
        trainer = self.trainer(tmp_path)
        yield trainer
        trainer.close()
        assert set(children()) <= set(before)

    def train(self, trainer: Trainer, directory: Path, number: int, *, lr: float = 0.5, **given: Any) -> list[Measurement]:
        """Trains the toy; `toy` holds further params for it, the rest is for `assignment_in`."""
        params = {"lr": lr, **given.pop("toy", {})}
        return trainer.train(assignment_in(directory, number, params=params, **given))

    def saved(self, directory: Path, number: int) -> dict[str, float]:
        """The toy's checkpoint."""
        weights: dict[str, float] = json.loads((checkpoint_in(directory, number) / "weights").read_bytes())
        return weights

    # Training

    def test_it_trains_the_steps_of_the_trial_and_returns_all_measurements_in_order(self, made: Trainer, tmp_path: Path) -> None:
        measurements = self.train(made, tmp_path, 0, steps=4)
        weights = [measurement.metrics["weights"] for measurement in measurements[:4]]
        assert [measurement.step for measurement in measurements[:4]] == [1, 2, 3, 4]
        assert weights == [weights_after([0.5] * steps) for steps in range(1, 5)]
        assert measurements[-1] == Measurement(step=4, metrics={"weights": weights[-1]})
        assert self.saved(tmp_path, 0) == {"weights": weights[-1], "lr": 0.5}

    def test_its_measurements_begin_with_those_that_it_reported(self, made: Trainer, tmp_path: Path) -> None:
        reported: list[Measurement] = []
        measurements = self.train(made, tmp_path, 0, report=reported.append)
        assert len(reported) >= 3
        assert measurements[: len(reported)] == reported

    def test_a_child_continues_from_the_checkpoint_of_its_parent_with_its_own_params(self, made: Trainer, tmp_path: Path) -> None:
        self.train(made, tmp_path, 0, lr=0.5)
        self.train(made, tmp_path, 1, lr=0.25)
        self.train(made, tmp_path, 2, lr=0.125, restore=checkpoint_in(tmp_path, 0), start=3, generation=1)
        self.train(made, tmp_path, 3, lr=0.125, restore=checkpoint_in(tmp_path, 1), start=3, generation=1)
        assert self.saved(tmp_path, 2) == {"weights": weights_after([0.5] * 3 + [0.125] * 3), "lr": 0.125}
        assert self.saved(tmp_path, 3) == {"weights": weights_after([0.25] * 3 + [0.125] * 3), "lr": 0.125}

    def test_stopping_and_resuming_equals_an_uninterrupted_run(self, made: Trainer, tmp_path: Path) -> None:
        whole = self.train(made, tmp_path, 0, steps=6)
        parts = self.train(made, tmp_path, 1, steps=2)
        parts += self.train(made, tmp_path, 2, steps=3, restore=checkpoint_in(tmp_path, 1), start=2, generation=1)
        parts += self.train(made, tmp_path, 3, steps=1, restore=checkpoint_in(tmp_path, 2), start=5, generation=2)
        assert {m.step: m.metrics for m in parts} == {m.step: m.metrics for m in whole}
        last, uninterrupted = (checkpoint_in(tmp_path, number) / "weights" for number in (3, 0))
        assert last.read_bytes() == uninterrupted.read_bytes()

    def test_the_parents_checkpoint_stays_as_it_was(self, made: Trainer, tmp_path: Path) -> None:
        self.train(made, tmp_path, 0)
        before = (checkpoint_in(tmp_path, 0) / "weights").read_bytes()
        self.train(made, tmp_path, 1, restore=checkpoint_in(tmp_path, 0), start=3)
        assert [path.name for path in checkpoint_in(tmp_path, 0).iterdir()] == ["weights"]
        assert (checkpoint_in(tmp_path, 0) / "weights").read_bytes() == before

    # Failing

    @pytest.mark.parametrize(("toy", "reason"), _MISBEHAVIOUR, ids=str)
    def test_a_failed_trial_has_a_reason_and_the_next_one_is_trained(
        self, made: Trainer, tmp_path: Path, toy: dict[str, Any], reason: str
    ) -> None:
        with pytest.raises(TrialFailed, match=reason):
            self.train(made, tmp_path, 0, toy=toy)
        assert self.train(made, tmp_path, 1)[-1].metrics == {"weights": weights_after([0.5] * 3)}

    def test_the_output_of_a_failed_trial_shows_where_it_failed(self, made: Trainer, tmp_path: Path) -> None:
        with pytest.raises(TrialFailed) as failed:
            self.train(made, tmp_path, 0, toy={"misbehave": "raise"})
        assert "kaboom" in failed.value.output
        assert "toy.py" in failed.value.output

    # Called back

    @pytest.mark.parametrize("error", [Stopped, Preempted, LeaseLost])
    def test_a_report_can_end_the_trial_and_every_process_that_trains_it(
        self, made: Trainer, tmp_path: Path, error: type[BaseException]
    ) -> None:
        def end(_: Measurement) -> None:
            raise error("enough")

        before = children()
        with pytest.raises(error, match="enough"):
            self.train(made, tmp_path, 0, toy={"misbehave": "never end"}, report=end)
        assert set(children()) <= set(before)
        assert self.train(made, tmp_path, 1)[-1].metrics == {"weights": weights_after([0.5] * 3)}

    def test_a_preempted_trial_can_be_trained_again_from_its_beginning(self, made: Trainer, tmp_path: Path) -> None:
        def preempt(_: Measurement) -> None:
            raise Preempted

        with pytest.raises(Preempted):
            self.train(made, tmp_path, 0, toy={"misbehave": "never end"}, report=preempt)
        self.train(made, tmp_path, 1, attempt=2)
        assert self.saved(tmp_path, 1)["weights"] == weights_after([0.5] * 3)

    # Leaving nothing behind

    def test_it_leaves_nothing_in_the_temporary_directory(
        self, made: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(scratch))
        self.train(made, tmp_path, 0)
        with pytest.raises(TrialFailed):
            self.train(made, tmp_path, 1, toy={"misbehave": "raise"})
        assert os.listdir(scratch) == []

    def test_closing_twice_does_no_harm(self, made: Trainer, tmp_path: Path) -> None:
        self.train(made, tmp_path, 0)
        made.close()
        made.close()
