"""How one trial is trained: one file a kind of trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from broodline.model import Measurement, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A trial to train, and all that a trainer may use for it.

    Args:
        trial: The trial; `trial.start` steps are behind its weights, `trial.steps` are to be trained.
        restore: The parent's checkpoint, to be read only; None to start from nothing.
        save: An empty directory; what is in it in the end is the checkpoint.
        log: A file for what the program prints.
        worker: The worker's name.
        devices: What this worker may use.
        report: Takes a measurement as it is made, which is cheap; raises Stopped or Preempted where the trial is to end.
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
        """Trains, and returns all that was measured, beginning with what was reported; the last one decides.

        Raises:
            TrialFailed: The program failed.
            Stopped: It ended early, because `assignment.report` said so.
            Preempted: The worker must go.
        """

    def close(self) -> None:
        """Ends what was kept for the next trial."""
