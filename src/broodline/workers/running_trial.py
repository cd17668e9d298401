"""The trial that the user's own code holds while it trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from broodline.core.trial import Measurement, Trial
from broodline.errors import LeaseLost, Preempted, Stopped
from broodline.workers.metrics import measured


class RunningTrial:
    """A trial that is being trained.

    Attributes:
        params: Its hyperparameters.
        restore_from: The directory of the parent's checkpoint, to be read only; None in generation 0.
        save_to: An empty directory: what is in it in the end is the checkpoint.
        start: Steps that the weights have behind them.
        steps: Steps to train.
        number, attempt, member, generation: Which trial it is.
        seed: For random numbers; the same at every attempt.
        worker: The name of the worker that trains it.
        devices: What it may use.

    Args:
        trial: The trial.
        restore: The parent's checkpoint.
        save: Where the new one goes.
        worker: Who trains.
        devices: What with.
        tell: Is told each measurement; what it raises ends the trial.
        leave: Is told when a block `with trial:` is left, with the error that left it; True keeps that error from going on.
    """

    def __init__(
        self,
        trial: Trial,
        *,
        restore: Path | None,
        save: Path,
        worker: str,
        devices: tuple[str, ...] = (),
        tell: Callable[[Measurement], None],
        leave: Callable[[RunningTrial, BaseException | None], bool] = lambda _trial, _error: False,
    ) -> None:
        self.params: dict[str, Any] = dict(trial.params)
        self.restore_from, self.save_to = restore, save
        self.start, self.steps = trial.start, trial.steps
        self.number, self.attempt = trial.number, trial.attempt
        self.member, self.generation = trial.member, trial.generation
        self.seed, self.worker, self.devices = trial.seed, worker, devices
        self.left = False
        self._tell, self._leave = tell, leave
        self._last: Measurement | None = None
        self._told_to_end: BaseException | None = None

    def __repr__(self) -> str:
        return f"<trial {self.number}: steps {self.start} to {self.start + self.steps} with {self.params}>"

    def report(self, /, *, step: int | None = None, **metrics: Any) -> None:
        """Reports metrics; the last ones decide how fit the trial is.

        Args:
            step: Counted from the beginning of the lineage; by default the step at which this trial ends.
            **metrics: Numbers by name; scalars of NumPy and PyTorch are numbers too.

        Raises:
            Stopped: The trial is to end early: let it pass, or save nothing and return.
            TrialFailed: A metric is no number or other JSON value, or the step is none.
        """
        self.check()
        measurement = self.measured({**metrics, "step": step})
        self._last = measurement
        try:
            self._tell(measurement)
        except (Stopped, LeaseLost, Preempted) as error:
            # A copy, since the error itself holds the frames of training, and they hold the weights.
            self._told_to_end = type(error)(*error.args)
            raise

    def measured(self, values: dict[str, Any]) -> Measurement:
        """These metrics as the next measurement of this trial.

        Raises:
            TrialFailed: They hold what can't be a metric.
        """
        return measured(values, end=self.start + self.steps, last=self._last)

    def check(self) -> None:
        """Raises again what an earlier report raised, if that was swallowed."""
        if self._told_to_end is not None:
            raise self._told_to_end

    @property
    def last(self) -> Measurement | None:
        """What was reported last."""
        return self._last

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> bool:
        self.left = True
        return self._leave(self, error)


def told(error: BaseException) -> str:
    """An error in one line: its type and the first line of its text."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:
        lines = []
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
