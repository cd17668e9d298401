"""The plug-in point of training: the `Trainer` protocol and the `Assignment` that it is given; one file a kind of trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from broodline.core.trial import Measurement, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One attempt at a trial, with everything that a trainer may use for it.

    Args:
        trial: The trial: `trial.start` steps are behind its weights, `trial.steps` are to be trained.
        restore: The directory of the parent's checkpoint, to be read only; None to start from nothing.
        save: An empty directory: its contents in the end are the checkpoint.
        log: The file for the program's output; its directory exists.
        worker: The worker's name.
        devices: The devices that this worker may use.
        report: Called with each measurement as it is made, which is cheap; raises Stopped, Preempted or LeaseLost where the
            trial is to end.
    """

    trial: Trial
    restore: Path | None
    save: Path
    log: Path
    worker: str
    devices: tuple[str, ...]
    report: Callable[[Measurement], None]


class Trainer(Protocol):
    """Trains one trial at a time."""

    def train(self, assignment: Assignment) -> list[Measurement]:
        """Trains, saves and measures.

        However it ends, no process that trained is left running.

        Returns:
            All measurements, beginning with those that were reported, in the order in which they were made; the last one
            decides how fit the trial is.

        Raises:
            TrialFailed: The program failed.
            Stopped: `assignment.report` ended the trial early.
            Preempted: The worker is to leave.
            LeaseLost: Another attempt has the trial.
        """

    def close(self) -> None:
        """Ends a program that was kept for the next trial; may be called twice."""


class MakesTrainer(Protocol):
    """Makes a trainer in the process that trains. A registered trainer, with its other arguments filled in, is one."""

    def __call__(self, *, cwd: Path) -> Trainer:
        """Makes the trainer.

        Args:
            cwd: The folder in which programs run.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerFactory:
    """A way to make a study's trainer, here or in a worker.

    Args:
        make: Makes it.
        cwd: The folder in which programs run, on this machine; None: the current one.
    """

    make: MakesTrainer
    cwd: Path | None = None

    def __call__(self) -> Trainer:
        """Makes the trainer in this process."""
        return self.make(cwd=self.cwd or Path.cwd())
