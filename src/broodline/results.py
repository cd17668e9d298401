"""What came out of a study: its best trial, and how that came to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broodline.errors import StudyFailed
from broodline.fitness import front
from broodline.lineage import lineage_of
from broodline.model import Measurement, Trial, TrialState
from broodline.places import Place
from broodline.schedule import Schedule, schedule_of
from broodline.stores import Transaction


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
        place: Where the study lives.
        study: Its name.
    """

    def __init__(self, place: Place, study: str) -> None:
        self._place, self._study = place, study

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

    @contextmanager
    def _records(self) -> Iterator[Transaction]:
        with closing(self._place.open(create=False)) as store, store.snapshot(self._study) as records:
            yield records

    def _outcome(self, records: Transaction, trial: Trial) -> Outcome:
        files = self._place.files(self._study)
        return Outcome(
            trial=trial,
            checkpoint=None if trial.checkpoint is None else files.path(trial.checkpoint),
            lineage=lineage_of(trial.number, records.trial),
        )
