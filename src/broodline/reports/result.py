"""The result of a study: its best trial, and the lineage of that trial."""

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
    """A completed trial and its lineage.

    Args:
        trial: Its record.
        checkpoint: The directory of its checkpoint; None once the checkpoint is deleted.
        lineage: The trial, its parent, and so on, back to a trial that started from scratch.
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
        """Its last metrics."""
        return self.trial.metrics or {}

    @property
    def fitness(self) -> float | tuple[float, ...]:
        """Its fitness, higher is fitter: one value, or one a goal if goals are compared by Pareto improvement."""
        values = self.trial.fitness or ()
        return values[0] if len(values) == 1 else values

    def schedule(self) -> Schedule:
        """The params of its lineage as a function of the training step."""
        return schedule_of(self.lineage)


class Result:
    """The result of a study. Every access reads the store, so a running study shows its latest trials.

    Args:
        study: The name of the study.
        records: Opens a snapshot of the study.
        files: The files of the study; None if there are none, as in a simulation.
    """

    def __init__(
        self, study: str, *, records: Callable[[], AbstractContextManager[Transaction]], files: StudyFiles | None
    ) -> None:
        self._study, self._records, self._files = study, records, files

    def __repr__(self) -> str:
        with self._records() as records:
            count, best = records.progress().trials, next(iter(records.best(1)), None)
        summary = "none completed" if best is None else f"best {best.number}, {dict(best.metrics or {})}"
        return f"<Result of study {self._study!r}: {count} trials, {summary}>"

    @property
    def best(self) -> Outcome:
        """The fittest completed trial.

        Raises:
            StudyFailed: No trial has completed.
        """
        if found := self.fittest(1):
            return found[0]
        raise StudyFailed(f"study '{self._study}': no trial has completed, so there is no best trial")

    def fittest(self, count: int) -> tuple[Outcome, ...]:
        """The `count` fittest completed trials, the fittest first."""
        with self._records() as records:
            return tuple(self._outcome(records, trial) for trial in records.best(count))

    def front(self) -> tuple[Outcome, ...]:
        """The Pareto front: the completed trials that no other trial dominates, the best by the first goal first."""
        with self._records() as records:
            completed = (trial for trial in records.trials() if trial.state is TrialState.COMPLETED)
            return tuple(self._outcome(records, trial) for trial in front(completed))

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, by number."""
        with self._records() as records:
            return tuple(records.trials())

    def measurements(self, number: int) -> tuple[Measurement, ...]:
        """The measurements of the last attempt at a trial, in order of step."""
        with self._records() as records:
            return records.measurements(number)

    def _outcome(self, records: Transaction, trial: Trial) -> Outcome:
        return Outcome(
            trial=trial,
            checkpoint=None if trial.checkpoint is None or self._files is None else self._files.path(trial.checkpoint),
            lineage=lineage_of(trial.number, records.trial),
        )
