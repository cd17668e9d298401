"""Trains by a program in any language that is run once for each trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from broodline.config.programs import Evaluate, Train
from broodline.core.trial import Measurement
from broodline.workers.trainers.base import Assignment
from broodline.workers.trainers.environment import facts
from broodline.workers.trainers.output import log_file
from broodline.workers.trainers.program_run import concluded, evaluation, free_port, training


class CommandTrainer:
    """Runs a command for each trial, and another to measure the new checkpoint.

    Args:
        train: The program that trains.
        evaluate: The program that measures the new checkpoint, if there is one.
        cwd: The folder that both run in.
        port: Finds a free port for a trial.
    """

    def __init__(self, train: Train, evaluate: Evaluate | None = None, *, cwd: Path, port: Callable[[], int] = free_port) -> None:
        self._train = training(train, cwd)
        self._evaluate = None if evaluate is None else evaluation(evaluate, train, cwd)
        self._port = port

    def train(self, assignment: Assignment) -> list[Measurement]:
        about = facts(assignment, port=self._port())
        with log_file(assignment.log) as log:
            measurements = self._train.run(assignment.trial, about, log, assignment.report)
            return concluded(measurements, self._evaluate, assignment, about, log, self._train.nothing)

    def close(self) -> None:
        """Does nothing: no program outlives its trial."""
