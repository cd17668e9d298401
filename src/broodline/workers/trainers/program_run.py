"""Programs that are run once for each trial: told about it, listened to, and judged by how they end."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from broodline.config.programs import Evaluate, Train, fill
from broodline.core.trial import Measurement, Trial
from broodline.errors import TrialFailed
from broodline.workers.metrics import finish, joined
from broodline.workers.trainers.base import Assignment
from broodline.workers.trainers.environment import Facts, for_evaluation, inherited, placeholders, variables
from broodline.workers.trainers.metrics_file import Reports
from broodline.workers.trainers.output import JsonLines, tail
from broodline.workers.trainers.process import Process, ending
from broodline.workers.trainers.scratch import scratch

FOLLOW_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class OneShot:
    """A command, and how it is run.

    Args:
        command: Its arguments, with their placeholders.
        cwd: The folder that it runs in.
        prints: Its metrics are the last JSON object that it prints, not what it appends to a file.
        timeout: Seconds after which it has failed; None: never.
        grace: Seconds between asking it to end and killing it.
    """

    command: tuple[str, ...]
    cwd: Path
    prints: bool
    timeout: float | None
    grace: float

    @property
    def nothing(self) -> str:
        """What to say if it measured nothing."""
        if self.prints:
            return f"no line that {self.command[0]} printed is a JSON object"
        return (
            f"{self.command[0]} wrote nothing to the file that BROODLINE_METRICS names "
            '(if it prints its metrics: [train] metrics = "stdout")'
        )

    def run(self, trial: Trial, told: Facts, log: BinaryIO, report: Callable[[Measurement], None]) -> list[Measurement]:
        """Runs it to its end, and returns what it measured.

        Args:
            trial: The trial that it works on.
            told: What it is told.
            log: Where what it prints is appended.
            report: Is told each measurement as it is made; what it raises ends the program.

        Raises:
            TrialFailed: It failed; the tail of what it printed is with it.
        """
        since = os.fstat(log.fileno()).st_size
        try:
            with scratch(trial.session) as folder:
                reports = Reports(Path(folder) / "metrics.jsonl", trial, report)
                params = Path(folder) / "params.json"
                params.write_text(json.dumps(dict(trial.params)), encoding="utf-8")
                told = {**told, "metrics": None if self.prints else str(reports.path)}
                return self._run(trial, told, params, log, reports)
        except TrialFailed as failed:
            failed.output = failed.output or tail(Path(log.name), since)
            raise

    def _run(self, trial: Trial, told: Facts, params: Path, log: BinaryIO, reports: Reports) -> list[Measurement]:
        printed = JsonLines(log)
        with Process(grace=self.grace, owner=trial.session) as process:
            process.start(
                fill(self.command, placeholders(told, trial.params, params)),
                environ=inherited(os.environ) | variables(told, params),
                cwd=self.cwd,
                stdout=subprocess.PIPE if self.prints else log,
                stderr=log,
            )
            if self.prints:
                process.listen(process.output, printed.hear)
            self._attend(process, reports)
        if process.status:
            raise TrialFailed(ending(process.status))
        if last := printed.last():
            reports.add(last)
        return reports.finish()

    def _attend(self, process: Process, reports: Reports) -> None:
        until = math.inf if self.timeout is None else time.monotonic() + self.timeout
        while not process.wait(max(0.0, min(FOLLOW_SECONDS, until - time.monotonic()))):
            reports.follow()
            check_time(until, self.timeout)


def check_time(until: float, timeout: float | None) -> None:
    """Fails a trial whose time is over.

    Args:
        until: When it is, by the monotonic clock.
        timeout: Seconds that it had.

    Raises:
        TrialFailed: It is over.
    """
    if time.monotonic() >= until:
        raise TrialFailed(f"timed out after {timeout:g} s")


def training(train: Train, cwd: Path) -> OneShot:
    """The program that trains."""
    return OneShot(command=train.command, cwd=cwd, prints=train.metrics == "stdout", timeout=train.timeout, grace=train.grace)


def evaluation(evaluate: Evaluate, train: Train, cwd: Path) -> OneShot:
    """The program that measures a checkpoint; it tells its metrics as the one that trains does."""
    return OneShot(
        command=evaluate.command, cwd=cwd, prints=train.metrics == "stdout", timeout=evaluate.timeout, grace=train.grace
    )


def evaluated(program: OneShot, assignment: Assignment, told: Facts, log: BinaryIO, *, step: int) -> dict[str, Any]:
    """The metrics of what an assignment has saved.

    Args:
        program: What measures.
        assignment: Whose checkpoint is measured: what is in its `save`.
        told: What the program that trained was told.
        log: Where what it prints is appended.
        step: The steps that the weights have behind them.

    Raises:
        TrialFailed: There is no checkpoint to measure, or the program failed.
    """
    if not (assignment.save.is_dir() and any(assignment.save.iterdir())):
        raise TrialFailed("no checkpoint: the program left nothing in the directory that it was to save in")
    try:
        facts = for_evaluation(told, checkpoint=assignment.save, step=step)
        measurements = program.run(assignment.trial, facts, log, lambda _measurement: None)
    except TrialFailed as failed:
        raise TrialFailed(f"evaluation: {failed.reason}", failed.output) from failed
    if not measurements:
        raise TrialFailed(f"evaluation: no metric: {program.nothing}")
    return dict(measurements[-1].metrics)


def concluded(
    measurements: Sequence[Measurement],
    evaluate: OneShot | None,
    assignment: Assignment,
    told: Facts,
    log: BinaryIO,
    nothing: str,
) -> list[Measurement]:
    """All measurements of a trial that was trained to its end: its checkpoint evaluated, if it is to be, and all found fit.

    Args:
        measurements: What training measured.
        evaluate: What measures the checkpoint.
        assignment: The attempt at the trial.
        told: What the program that trained was told.
        log: Where what is printed is appended.
        nothing: What to say if nothing was measured.

    Raises:
        TrialFailed: The evaluation failed, or the measurements are not fit.
    """
    trial = assignment.trial
    if evaluate is not None:
        step = measurements[-1].step if measurements else trial.end
        measurements = joined(measurements, evaluated(evaluate, assignment, told, log, step=step), trial)
    try:
        return finish(measurements, trial, nothing)
    except TrialFailed as failed:
        failed.output = tail(Path(log.name))
        raise


def free_port() -> int:
    """The number of a port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        port: int = listener.getsockname()[1]
        return port
