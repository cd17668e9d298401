"""Runs a program once for a trial: passes it the facts, follows its metrics, and judges the way in which it ends."""

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
from broodline.workers.trainers.metrics_file import MetricsFile
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
        prints: Its metrics are the last JSON object that it prints, not the lines of a file.
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
        """The message if it measured nothing."""
        if self.prints:
            return f"no line that {self.command[0]} printed is a JSON object"
        return (
            f"{self.command[0]} wrote nothing to the file that BROODLINE_METRICS names "
            '(if it prints its metrics: [train] metrics = "stdout")'
        )

    def run(self, trial: Trial, about: Facts, log: BinaryIO, report: Callable[[Measurement], None]) -> list[Measurement]:
        """Runs it to its end, and returns its measurements.

        Args:
            trial: The trial that it works on.
            about: The facts about the trial.
            log: The file to which its output is appended.
            report: Called with each measurement as it is made; an error of that ends the program.

        Raises:
            TrialFailed: It failed; the error holds the tail of its output.
        """
        since = os.fstat(log.fileno()).st_size
        try:
            with scratch(trial.session) as folder:
                metrics = MetricsFile(Path(folder) / "metrics.jsonl", trial, report)
                params = Path(folder) / "params.json"
                params.write_text(json.dumps(dict(trial.params)), encoding="utf-8")
                about = {**about, "metrics": None if self.prints else str(metrics.path)}
                return self._run(trial, about, params, log, metrics)
        except TrialFailed as failed:
            failed.output = failed.output or tail(Path(log.name), since)
            raise

    def _run(self, trial: Trial, about: Facts, params: Path, log: BinaryIO, metrics: MetricsFile) -> list[Measurement]:
        printed = JsonLines(log)
        with Process(grace=self.grace, owner=trial.session) as process:
            process.start(
                fill(self.command, placeholders(about, trial.params, params)),
                environ=inherited(os.environ) | variables(about, params),
                cwd=self.cwd,
                stdout=subprocess.PIPE if self.prints else log,
                stderr=log,
            )
            if self.prints:
                process.listen(process.output, printed.receive)
            self._attend(process, metrics)
        if process.status:
            raise TrialFailed(ending(process.status))
        if last := printed.last():
            metrics.add(last)
        return metrics.finish()

    def _attend(self, process: Process, metrics: MetricsFile) -> None:
        until = math.inf if self.timeout is None else time.monotonic() + self.timeout
        while not process.wait(max(0.0, min(FOLLOW_SECONDS, until - time.monotonic()))):
            metrics.follow()
            check_time(until, self.timeout)


def check_time(until: float, timeout: float | None) -> None:
    """Fails a trial after its timeout.

    Args:
        until: The end of its time, by the monotonic clock.
        timeout: Seconds that it had.

    Raises:
        TrialFailed: The time is over.
    """
    if time.monotonic() >= until:
        raise TrialFailed(f"timed out after {timeout:g} s")


def training(train: Train, cwd: Path) -> OneShot:
    """The program that trains."""
    return OneShot(command=train.command, cwd=cwd, prints=train.metrics == "stdout", timeout=train.timeout, grace=train.grace)


def evaluation(evaluate: Evaluate, train: Train, cwd: Path) -> OneShot:
    """The program that measures a checkpoint; it reports its metrics in the same way as the one that trains."""
    return OneShot(
        command=evaluate.command, cwd=cwd, prints=train.metrics == "stdout", timeout=evaluate.timeout, grace=train.grace
    )


def evaluated(program: OneShot, assignment: Assignment, about: Facts, log: BinaryIO, *, step: int) -> dict[str, Any]:
    """The metrics of the checkpoint of an assignment.

    Args:
        program: The program that measures.
        assignment: The attempt; its `save` holds the checkpoint.
        about: The facts for the program that trained.
        log: The file to which the program's output is appended.
        step: The steps that the weights have behind them.

    Raises:
        TrialFailed: There is no checkpoint to measure, or the program failed.
    """
    if not (assignment.save.is_dir() and any(assignment.save.iterdir())):
        raise TrialFailed("no checkpoint: the program left nothing in the directory that it was to save in")
    try:
        about = for_evaluation(about, checkpoint=assignment.save, step=step)
        measurements = program.run(assignment.trial, about, log, lambda _measurement: None)
    except TrialFailed as failed:
        raise TrialFailed(f"evaluation: {failed.reason}", failed.output) from failed
    if not measurements:
        raise TrialFailed(f"evaluation: no metric: {program.nothing}")
    return dict(measurements[-1].metrics)


def concluded(
    measurements: Sequence[Measurement],
    evaluate: OneShot | None,
    assignment: Assignment,
    about: Facts,
    log: BinaryIO,
    nothing: str,
) -> list[Measurement]:
    """All measurements of a trial that was trained to its end, those of its evaluation included, checked.

    Args:
        measurements: The measurements of training.
        evaluate: The program that measures the checkpoint, if there is one.
        assignment: The attempt at the trial.
        about: The facts for the program that trained.
        log: The file to which output is appended.
        nothing: The message if nothing was measured.

    Raises:
        TrialFailed: The evaluation failed, or the measurements are not fit to be recorded.
    """
    trial = assignment.trial
    if evaluate is not None:
        step = measurements[-1].step if measurements else trial.end
        measurements = joined(measurements, evaluated(evaluate, assignment, about, log, step=step), trial)
    try:
        return finish(measurements, trial, nothing)
    except TrialFailed as failed:
        failed.output = tail(Path(log.name))
        raise


def free_port() -> int:
    """The number of a port on which no process listens now."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        port: int = listener.getsockname()[1]
        return port
