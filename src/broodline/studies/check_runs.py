"""The runs of a check: one trial each, in a temporary directory, in the environment of a worker, within a time limit."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from broodline.core.study import StudyConfig
from broodline.core.trial import Measurement, Trial, TrialState
from broodline.errors import CheckpointError, Preempted, TrialFailed
from broodline.storage.checkpoints.manifest import MANIFEST
from broodline.storage.study_files import StudyFiles
from broodline.workers.likeness import likeness
from broodline.workers.trainers.base import Assignment, Trainer


class OutOfTime(Exception):
    """Raised when the time limit of a check is reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one run: its trial as it was trained, its last metrics, its fitness and its checkpoint."""

    trial: Trial
    metrics: Mapping[str, Any]
    fitness: tuple[float, ...]
    checkpoint: Path

    def same_as(self, other: Outcome) -> bool:
        """True for equal metrics and weights; a file that only records the hyperparameters, or the time, may differ."""
        return self.metrics == other.metrics and likeness(self.checkpoint, other.checkpoint) is not None


@dataclass(kw_only=True)
class Runs:
    """Trains one trial after another.

    Args:
        study: The study.
        trainer: Runs the program.
        files: Temporary files of a study.
        steps: Steps of a run.
        devices: The devices of the first worker.
        seconds: The limit of all runs together.
        progress: Receives a line before each run.
    """

    study: StudyConfig
    trainer: Trainer
    files: StudyFiles
    steps: int
    devices: tuple[str, ...]
    seconds: float
    progress: Callable[[str], None]
    made: int = field(default=0, init=False)
    _end: float = field(init=False)

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.seconds

    def run(self, params: Mapping[str, Any], *, parent: Outcome | None = None, steps: int | None = None) -> Outcome:
        """Trains one trial.

        Args:
            params: Its hyperparameters.
            parent: The run whose checkpoint it restores; None: it starts from nothing.
            steps: Steps to train; None: those of every run.

        Raises:
            TrialFailed: The program failed, or there is no fitness or no checkpoint.
            OutOfTime: The time limit is reached.
        """
        trial = Trial(
            number=self.made,
            member=0,
            generation=0 if parent is None else 1,
            params=params,
            seed=self.study.seed,
            start=0 if parent is None else parent.trial.end,
            steps=self.steps if steps is None else steps,
            state=TrialState.RUNNING,
            parent=None if parent is None else parent.trial.number,
            attempt=1,
        )
        self.made += 1
        self.progress(f"run {self.made}: {_described(trial)}")
        return self._outcome(trial, self._measured(trial, parent))

    def _measured(self, trial: Trial, parent: Outcome | None) -> list[Measurement]:
        assignment = Assignment(
            trial=trial,
            restore=None if parent is None else parent.checkpoint,
            save=self.files.checkpoints.begin(trial),
            log=self.files.log(trial),
            worker="check",
            devices=self.devices,
            report=self._stop_in_time,
        )
        try:
            with _interrupted_after(self._end - time.monotonic()):
                return self.trainer.train(assignment)
        except Preempted:
            raise OutOfTime from None

    def _stop_in_time(self, _: Measurement) -> None:
        if time.monotonic() >= self._end:
            raise Preempted

    def _outcome(self, trial: Trial, measured: list[Measurement]) -> Outcome:
        if problem := self.study.objective.problem(measured):
            raise TrialFailed(problem)
        fitness = self.study.objective.fitness(measured)
        assert fitness is not None
        try:
            checkpoint = self.files.path(self.files.checkpoints.commit(trial))
        except CheckpointError as error:
            raise TrialFailed(str(error)) from error
        trained = trial.evolve(steps=measured[-1].step - trial.start)
        metrics = measured[-1].metrics
        return Outcome(trial=trained, metrics=metrics, fitness=fitness, checkpoint=checkpoint)


def files_of(directory: Path) -> list[Path]:
    """The files of a checkpoint."""
    return sorted(path for path in directory.rglob("*") if path.is_file() and path.name != MANIFEST)


@contextmanager
def _interrupted_after(seconds: float) -> Iterator[None]:
    """Raises Preempted in this block after so many seconds; in another thread than the main one only at its start."""
    if seconds <= 0:
        raise Preempted
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGALRM, _preempt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _preempt(_signal: int, _frame: FrameType | None) -> None:
    raise Preempted


def _described(trial: Trial) -> str:
    source = "from nothing" if trial.parent is None else f"from the checkpoint of run {trial.parent + 1}"
    params = ", ".join(
        f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in trial.params.items()
    )
    return f"{trial.steps} steps {source}, {params}"
