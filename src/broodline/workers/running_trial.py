"""The trial that the user's own code holds while it trains."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from broodline.core.trial import Measurement
from broodline.errors import LeaseLost, Preempted, Stopped
from broodline.workers.metrics import measured
from broodline.workers.trainers.base import Assignment


class RunningTrial:
    """A trial that is being trained.

    Attributes:
        params: Its hyperparameters.
        restore_from: The directory of the parent's checkpoint, to be read only; None in generation 0.
        save_to: An empty directory: its contents in the end are the checkpoint.
        start: Steps that the weights have behind them.
        steps: Steps to train.
        end: `start + steps`, for training that counts absolutely.
        number, attempt, member, generation: The trial's place in the study.
        seed: For random numbers; the same at every attempt.
        worker: The name of the worker that trains it.
        devices: The devices that it may use.

    Args:
        assignment: The trial with its directories and its worker. Its `report` receives each measurement; an error of that
            ends the trial.
        leave: Called when a block `with trial:` is left, with the error that left it; True suppresses that error.
    """

    def __init__(
        self,
        assignment: Assignment,
        *,
        leave: Callable[[RunningTrial, BaseException | None], bool] = lambda _trial, _error: False,
    ) -> None:
        trial = assignment.trial
        self.params: dict[str, Any] = dict(trial.params)
        self.restore_from, self.save_to = assignment.restore, assignment.save
        self.start, self.steps, self.end = trial.start, trial.steps, trial.end
        self.number, self.attempt = trial.number, trial.attempt
        self.member, self.generation = trial.member, trial.generation
        self.seed, self.worker, self.devices = trial.seed, assignment.worker, assignment.devices
        self.left = False
        self._report, self._leave = assignment.report, leave
        self._last: Measurement | None = None
        self._ended_by: BaseException | None = None

    def __repr__(self) -> str:
        return f"<trial {self.number}: steps {self.start} to {self.end} with {self.params}>"

    def report(self, /, *, step: int | None = None, **metrics: Any) -> None:
        """Reports metrics; the last ones decide how fit the trial is.

        Args:
            step: Counted from the beginning of the lineage; by default the step at which this trial ends.
            **metrics: Numbers by name; scalars of NumPy and PyTorch are numbers too.

        Raises:
            Stopped: The trial is to end early: let the error pass, or save nothing and return.
            TrialFailed: A metric is not a number or another JSON value, or the step is not an integer.
        """
        self.check()
        measurement = self.measured({**metrics, "step": step})
        self._last = measurement
        try:
            self._report(measurement)
        except (Stopped, LeaseLost, Preempted) as error:
            # A copy, since the error itself holds the frames of training, and they hold the weights.
            self._ended_by = type(error)(*error.args)
            raise

    def measured(self, values: dict[str, Any]) -> Measurement:
        """These metrics as the next measurement of this trial.

        Raises:
            TrialFailed: A value can't be a metric.
        """
        return measured(values, end=self.end, last=self._last)

    def check(self) -> None:
        """Raises the error that ended this trial again, in case the user's code suppressed it."""
        if self._ended_by is not None:
            raise self._ended_by

    @property
    def last(self) -> Measurement | None:
        """The last measurement that was reported."""
        return self._last

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> bool:
        self.left = True
        return self._leave(self, error)


def recorded(
    report: Callable[[Measurement], None],
) -> tuple[list[Measurement], Callable[[Measurement], None]]:
    """Returns a list, and a function that reports each measurement after adding it to the list.

    Args:
        report: Where measurements are reported; the measurement that makes it raise is in the list too.
    """
    measurements: list[Measurement] = []

    def record(measurement: Measurement) -> None:
        measurements.append(measurement)
        report(measurement)

    return measurements, record


def in_one_line(error: BaseException) -> str:
    """An error in one line: its type and the first line of its message."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:
        lines = []
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
