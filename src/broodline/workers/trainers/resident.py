"""Trains by a resident program: a worker starts it once, and hands it one trial after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from broodline.config.programs import Evaluate, Train
from broodline.core.trial import Measurement
from broodline.errors import TrialFailed
from broodline.workers.metrics import parsed
from broodline.workers.trainers.base import Assignment
from broodline.workers.trainers.environment import Facts, facts, message
from broodline.workers.trainers.measurements import Measurements
from broodline.workers.trainers.metrics_file import MetricsFile
from broodline.workers.trainers.output import keep_short, log_file, tail
from broodline.workers.trainers.program_run import concluded, evaluation, free_port
from broodline.workers.trainers.resident_session import RequestUnread, ResidentProgram
from broodline.workers.trainers.scratch import scratch


class ResidentTrainer:
    """Hands each trial to a program that is started at the first one, and again after it was ended or has died.

    Args:
        train: The program that trains.
        evaluate: The program that measures the new checkpoint, if there is one; it is run once for each trial.
        cwd: The folder that both run in.
        port: Finds a free port for a trial.
    """

    def __init__(self, train: Train, evaluate: Evaluate | None = None, *, cwd: Path, port: Callable[[], int] = free_port) -> None:
        self._train, self._cwd, self._port = train, cwd, port
        self._evaluate = None if evaluate is None else evaluation(evaluate, train, cwd)
        self._program: ResidentProgram | None = None

    def train(self, assignment: Assignment) -> list[Measurement]:
        about = facts(assignment, port=self._port())
        with log_file(assignment.log) as log:
            try:
                measurements = self._measurements(assignment, about, log)
            except TrialFailed as failed:
                failed.output = failed.output or tail(assignment.log)
                raise
            nothing = f"{self._train.command[0]} neither answered with any nor reported any"
            return concluded(measurements, self._evaluate, assignment, about, log, nothing)

    def close(self) -> None:
        program, self._program = self._program, None
        if program is not None:
            program.close()

    def _measurements(self, assignment: Assignment, about: Facts, log: BinaryIO) -> list[Measurement]:
        with scratch(assignment.trial.session) as folder:
            measurements = Measurements(assignment.trial, assignment.report)
            metrics = MetricsFile(Path(folder) / "metrics.jsonl", measurements)
            request = message({**about, "metrics": str(metrics.path)}, assignment.trial.params)
            answer = parsed(self._answer(request, assignment, log, metrics))
            if isinstance(answer.get("error"), str):  # a number is a metric of that name
                raise TrialFailed(answer["error"], str(answer.get("traceback", "")))
            metrics.finish()
            if answer:
                measurements.conclude(answer)
            return measurements.taken

    def _attend(self, metrics: MetricsFile, log: BinaryIO) -> None:
        metrics.follow()
        keep_short(log.fileno())

    def _answer(self, request: Mapping[str, Any], assignment: Assignment, log: BinaryIO, metrics: MetricsFile) -> str:
        """The program's answer, a line."""
        try:
            return self._ask(request, assignment, log, metrics)
        except RequestUnread:
            return self._ask(request, assignment, log, metrics)  # of a program that has just been started

    def _ask(self, request: Mapping[str, Any], assignment: Assignment, log: BinaryIO, metrics: MetricsFile) -> str:
        """The program's answer; a program that does not give one, or whose trial is called back, is ended."""
        try:
            if self._program is None or not self._program.idle:
                self.close()
                self._program = ResidentProgram(self._train, cwd=self._cwd, owner=assignment.trial.session)
                self._program.start(assignment)
            return self._program.ask(request, log, partial(self._attend, metrics, log))
        except BaseException:
            program, self._program = self._program, None
            if program is not None:
                program.end()
            raise
