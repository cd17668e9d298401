"""Runs a program once for a trial: passes it the facts, follows its metrics, and judges the way in which it ends."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from broodline.config.programs import Evaluate, Train, fill
from broodline.core.trial import Measurement, Trial
from broodline.errors import TrialFailed
from broodline.workers.metric_lines import notation
from broodline.workers.metrics import finish, joined, last_values
from broodline.workers.trainers.base import Assignment
from broodline.workers.trainers.environment import Facts, for_evaluation, inherited, placeholders, variables
from broodline.workers.trainers.measurements import Measurements
from broodline.workers.trainers.metrics_file import MetricsFile
from broodline.workers.trainers.output import keep_short, tail
from broodline.workers.trainers.printed_metrics import PrintedMetrics
from broodline.workers.trainers.process import Process
from broodline.workers.trainers.process_problems import ending
from broodline.workers.trainers.scratch import scratch

FOLLOW_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class OneShot:
    """A command, and how it is run.

    Args:
        command: Its arguments, with their placeholders.
        cwd: The folder that it runs in.
        metrics: The place and notation of its metrics: the key `metrics` of the study file.
        objective: The metrics of the objective.
        timeout: Seconds after which it has failed; None: never.
        grace: Seconds between asking it to end and killing it.
    """

    command: tuple[str, ...]
    cwd: Path
    metrics: str | Mapping[str, str]
    objective: tuple[str, ...]
    timeout: float | None
    grace: float

    @property
    def prints(self) -> bool:
        """True if its metrics are in its output."""
        return self.metrics != "file"

    @property
    def nothing(self) -> str:
        """The message if it measured nothing."""
        program = self.command[0]
        if not isinstance(self.metrics, str):
            return f"no line that {program} printed matches a pattern of [train] metrics"
        if self.metrics == "name=value":
            return f"no line that {program} printed has a pair such as {self.objective[0] if self.objective else 'accuracy'}=0.93"
        if self.metrics == "stdout":
            return (
                f"no line that {program} printed is a JSON object "
                '(pairs, other lines, standard error: [train] metrics = "name=value", or { accuracy = "regex" })'
            )
        return (
            f"{program} wrote nothing to the file that BROODLINE_METRICS names "
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
        # An evaluation appends to the log of its training: the tail of its failure begins here.
        since = os.fstat(log.fileno()).st_size
        try:
            with scratch(trial.session) as folder:
                params = Path(folder) / "params.json"
                params.write_text(json.dumps(dict(trial.params)), encoding="utf-8")
                measurements, file = Measurements(trial, report), Path(folder) / "metrics.jsonl"
                about = {**about, "metrics": None if self.prints else str(file)}
                self._run(trial, about, params, log, self._source(file, log, measurements))
                return measurements.taken
        except TrialFailed as failed:
            failed.output = failed.output or tail(Path(log.name), since)
            raise

    def _source(self, file: Path, log: BinaryIO, measurements: Measurements) -> MetricsFile | PrintedMetrics:
        if self.prints:
            return PrintedMetrics(log, notation(self.metrics), self.objective, measurements)
        return MetricsFile(file, measurements)

    def _run(self, trial: Trial, about: Facts, params: Path, log: BinaryIO, metrics: MetricsFile | PrintedMetrics) -> None:
        with Process(grace=self.grace, owner=trial.session) as process:
            process.start(
                fill(self.command, placeholders(about, trial.params, params)),
                environ=inherited(os.environ) | variables(about, params),
                cwd=self.cwd,
                stdout=subprocess.PIPE if self.prints else log,
                # One pipe for both, where both may hold metrics: it keeps the order in which they were printed.
                stderr=log if self.metrics in ("file", "stdout") else subprocess.STDOUT,
            )
            if isinstance(metrics, PrintedMetrics):
                process.listen(process.output, metrics.receive)
            self._attend(process, metrics, log)
        # After the block: the descendants of the program have ended, so their last output is in the log and its tail.
        if process.status:
            raise TrialFailed(ending(process.status))
        metrics.finish()

    def _attend(self, process: Process, metrics: MetricsFile | PrintedMetrics, log: BinaryIO) -> None:
        until = math.inf if self.timeout is None else time.monotonic() + self.timeout
        while not process.wait(max(0.0, min(FOLLOW_SECONDS, until - time.monotonic()))):
            metrics.follow()
            keep_short(log.fileno())
            check_time(until, self.timeout)
        # Once more: the program may have printed much between the last look and its end.
        keep_short(log.fileno())


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
    return _one_shot(train, cwd, command=train.command, timeout=train.timeout)


def evaluation(evaluate: Evaluate, train: Train, cwd: Path) -> OneShot:
    """The program that measures a checkpoint; it reports its metrics in the same way as the one that trains."""
    return _one_shot(train, cwd, command=evaluate.command, timeout=evaluate.timeout)


def _one_shot(train: Train, cwd: Path, *, command: tuple[str, ...], timeout: float | None) -> OneShot:
    return OneShot(command=command, cwd=cwd, metrics=train.metrics, objective=train.objective, timeout=timeout, grace=train.grace)


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
    return last_values(measurements)


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
