"""Every trainer keeps the contract of trainers."""

from __future__ import annotations

from pathlib import Path

import pytest
from assignments import PYTHON, SEES_US

from broodline.config.programs import Train
from broodline.registry import TRAINERS
from broodline.testing import TrainerContract, toy
from broodline.workers.trainers.base import Trainer
from broodline.workers.trainers.command import CommandTrainer
from broodline.workers.trainers.function import FunctionTrainer
from broodline.workers.trainers.resident import ResidentTrainer

PROGRAM = (PYTHON, str(toy.PATH))


@pytest.fixture(autouse=True)
def programs_can_import_broodline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", SEES_US["PYTHONPATH"])


class TestFunction(TrainerContract):
    def trainer(self, directory: Path) -> Trainer:
        return FunctionTrainer(toy.as_function)


class TestCommand(TrainerContract):
    def trainer(self, directory: Path) -> Trainer:
        return CommandTrainer(Train(command=PROGRAM), cwd=directory)


class TestResident(TrainerContract):
    def trainer(self, directory: Path) -> Trainer:
        return ResidentTrainer(Train(command=PROGRAM, resident=True), cwd=directory)


@pytest.mark.parametrize(
    ("name", "trainer"), [("function", FunctionTrainer), ("command", CommandTrainer), ("resident", ResidentTrainer)]
)
def test_a_trainer_is_found_by_its_name(name: str, trainer: type[Trainer]) -> None:
    assert TRAINERS.load(name) is trainer
