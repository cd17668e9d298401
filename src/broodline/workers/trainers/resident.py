"""Trains by a program that stays: started once a worker, it is handed one trial after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from broodline.config.programs import Evaluate, Train
from broodline.core.trial import Measurement
from broodline.errors import TrialFailed
from broodline.workers.metrics import parsed
from broodline.workers.trainers.base import Assignment
from broodline.workers.trainers.environment import Facts, facts, message
from broodline.workers.trainers.metrics_file import Reports
from broodline.workers.trainers.output import log_file, tail
from broodline.workers.trainers.program_run import concluded, evaluation, free_port
from broodline.workers.trainers.resident_session import Conversation, Unheard
from broodline.workers.trainers.scratch import scratch


class ResidentTrainer:
    """Hands each trial to a program that is started at the first one, and again after it had to be ended or has died.

    Args:
        train: The program that trains.
        evaluate: The program that measures the new checkpoint, if there is one; it is run once for each trial.
        cwd: The folder that both run in.
        port: Finds a free port for a trial.
    """

    def __init__(self, train: Train, evaluate: Evaluate | None = None, *, cwd: Path, port: Callable[[], int] = free_port) -> None:
        self._train, self._cwd, self._port = train, cwd, port
        self._evaluate = None if evaluate is None else evaluation(evaluate, train, cwd)
        self._program: Conversation | None = None

    def train(self, assignment: Assignment) -> list[Measurement]:
        told = facts(assignment, port=self._port())
        with log_file(assignment.log) as log:
            try:
                measurements = self._measurements(assignment, told, log)
            except TrialFailed as failed:
                failed.output = failed.output or tail(assignment.log)
                raise
            nothing = f"{self._train.command[0]} neither answered with any nor reported any"
            return concluded(measurements, self._evaluate, assignment, told, log, nothing)

    def close(self) -> None:
        program, self._program = self._program, None
        if program is not None:
            program.close()

    def _measurements(self, assignment: Assignment, told: Facts, log: BinaryIO) -> list[Measurement]:
        with scratch(assignment.trial.session) as folder:
            reports = Reports(Path(folder) / "metrics.jsonl", assignment.trial, assignment.report)
            request = message({**told, "metrics": str(reports.path)}, assignment.trial.params)
            answer = parsed(self._answer(request, assignment, log, reports))
            if isinstance(answer.get("error"), str):  # a number is a metric of that name
                raise TrialFailed(answer["error"], str(answer.get("traceback", "")))
            reports.finish()
            if answer:
                reports.conclude(answer)
            return reports.measurements

    def _answer(self, request: Mapping[str, Any], assignment: Assignment, log: BinaryIO, reports: Reports) -> str:
        """The program's answer, a line."""
        try:
            return self._ask(request, assignment, log, reports)
        except Unheard:
            return self._ask(request, assignment, log, reports)  # of a program that has just been started

    def _ask(self, request: Mapping[str, Any], assignment: Assignment, log: BinaryIO, reports: Reports) -> str:
        """The same; a program that fails to give one, or must not go on, is ended."""
        try:
            if self._program is None or not self._program.idle:
                self.close()
                self._program = Conversation(self._train, cwd=self._cwd, owner=assignment.trial.session)
                self._program.start(assignment)
            return self._program.ask(request, log, reports.follow)
        except BaseException:
            program, self._program = self._program, None
            if program is not None:
                program.end()
            raise
