"""What came out of a study: its best trial, and how that came to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broodline.core.lineage import lineage_of
from broodline.core.objective import front
from broodline.core.schedule import Schedule, schedule_of
from broodline.core.trial import Measurement, Trial, TrialState
from broodline.errors import StudyFailed
from broodline.storage.base import Transaction
from broodline.storage.study_files import StudyFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A completed trial and where it came from.

    Args:
        trial: Its record.
        checkpoint: The directory of its checkpoint; None once that is swept.
        lineage: The trial, its parent, its parent's parent, back to one that started from nothing.
    """

    trial: Trial
    checkpoint: Path | None
    lineage: tuple[Trial, ...]

    @property
    def params(self) -> Mapping[str, Any]:
        """Its hyperparameters."""
        return self.trial.params

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What it measured last."""
        return self.trial.metrics or {}

    @property
    def fitness(self) -> float | tuple[float, ...]:
        """Higher is fitter: one value, or one for each goal where they are compared by Pareto improvement."""
        values = self.trial.fitness or ()
        return values[0] if len(values) == 1 else values

    def schedule(self) -> Schedule:
        """Its lineage's params as a function of the training step."""
        return schedule_of(self.lineage)


class Result:
    """The records of a study, read from its store when they are asked for.

    Args:
        study: Its name.
        records: Opens a view of them.
        files: Where its checkpoints are; None if they are nowhere, as those of a simulation.
    """

    def __init__(
        self, study: str, *, records: Callable[[], AbstractContextManager[Transaction]], files: StudyFiles | None
    ) -> None:
        self._study, self._records, self._files = study, records, files

    def __repr__(self) -> str:
        with self._records() as records:
            count, best = records.progress().trials, next(iter(records.best(1)), None)
        told = "none completed" if best is None else f"best {best.number}, {dict(best.metrics or {})}"
        return f"<Result of study {self._study!r}: {count} trials, {told}>"

    @property
    def best(self) -> Outcome:
        """The fittest completed trial.

        Raises:
            StudyFailed: No trial has completed.
        """
        if found := self.fittest(1):
            return found[0]
        raise StudyFailed(f"study '{self._study}': no trial has completed, so there is no best one")

    def fittest(self, count: int) -> tuple[Outcome, ...]:
        """The fittest completed trials, the fittest first."""
        with self._records() as records:
            return tuple(self._outcome(records, trial) for trial in records.best(count))

    def front(self) -> tuple[Outcome, ...]:
        """The completed trials that no other improves on (the Pareto front), the best by the first goal first."""
        with self._records() as records:
            completed = (trial for trial in records.trials() if trial.state is TrialState.COMPLETED)
            return tuple(self._outcome(records, trial) for trial in front(completed))

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, by number."""
        with self._records() as records:
            return tuple(records.trials())

    def measurements(self, number: int) -> tuple[Measurement, ...]:
        """What the last attempt at a trial reported, in order of step."""
        with self._records() as records:
            return records.measurements(number)

    def _outcome(self, records: Transaction, trial: Trial) -> Outcome:
        return Outcome(
            trial=trial,
            checkpoint=None if trial.checkpoint is None or self._files is None else self._files.path(trial.checkpoint),
            lineage=lineage_of(trial.number, records.trial),
        )
