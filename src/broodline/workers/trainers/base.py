"""How one trial is trained: the `Trainer` protocol, and what a trainer is given; one file a kind of trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from broodline.core.trial import Measurement, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One attempt at a trial, and all that a trainer may use for it.

    Args:
        trial: What to train: `trial.start` steps are behind its weights, `trial.steps` are to be trained.
        restore: The directory of the parent's checkpoint, to be read only; None to start from nothing.
        save: An empty directory: what is in it in the end is the checkpoint.
        log: The file for what the program prints; its directory exists.
        worker: The worker's name.
        devices: What this worker may use.
        report: Is told each measurement as it is made, which is cheap; raises Stopped, Preempted or LeaseLost where the trial
            is to end.
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
        """Trains, saves and measures; returns all that was measured, beginning with what was reported; the last one decides.

        Whatever it raises, no process that trained is left running.

        Raises:
            TrialFailed: The program failed.
            Stopped: It ended early, because `assignment.report` said so.
            Preempted: The worker must go.
        """

    def close(self) -> None:
        """Ends what was kept for the next trial."""
