"""What a simulated worker trains: a function of the trial instead of a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

from broodline.core.trial import Measurement, Trial
from broodline.errors import TrialFailed, UsageError
from broodline.workers.metrics import finish, measured


class SimulatedTrial:
    """A trial that is being trained in a simulation.

    Attributes:
        params: Its hyperparameters.
        state: What the training of its parent returned, a copy; None where it starts from nothing.
        start: Steps that the weights have behind them.
        steps: Steps to train.
        number, attempt, member, generation: Which trial it is.
        seed: The same at every attempt.
        rng: Random numbers that follow from the seed: the same at every attempt.

    Args:
        trial: Its record.
        state: The state of its parent.
    """

    def __init__(self, trial: Trial, state: Any) -> None:
        self.params: dict[str, Any] = dict(trial.params)
        self.state = deepcopy(state)
        self.start, self.steps = trial.start, trial.steps
        self.number, self.attempt = trial.number, trial.attempt
        self.member, self.generation = trial.member, trial.generation
        self.seed, self.rng = trial.seed, Random(trial.seed)
        self.reports: list[Measurement] = []

    def report(self, *, step: int | None = None, **metrics: Any) -> None:
        """Reports metrics. The controller hears them when the worker has reached that step, and may then end the trial.

        Args:
            step: Counted from the beginning of the lineage; by default the step at which this trial ends.
            **metrics: Numbers by name.
        """
        self.reports.append(self._measured({**metrics, "step": step}))

    def measurements(self, metrics: Mapping[str, Any]) -> list[Measurement]:
        """All that it reported, and its final metrics."""
        return [*self.reports, self._measured(metrics)]

    def _measured(self, values: Mapping[str, Any]) -> Measurement:
        last = self.reports[-1] if self.reports else None
        return measured(values, end=self.start + self.steps, last=last)


Train = Callable[[SimulatedTrial], tuple[Any, Mapping[str, Any]]]
"""Trains a trial: returns its new state and its metrics. A `TrialFailed` is a failure of the program, any other error yours."""

Seconds = float | Callable[[SimulatedTrial], float]
"""Virtual seconds that a step takes a worker of normal speed; a number, or a function of the trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What will come of an attempt if nobody interferes.

    Args:
        seconds: How long it takes a worker of normal speed.
        state: The new state; None if it failed.
        measurements: All that it will have measured.
        failed: Why its program fails, if so.
    """

    seconds: float
    state: Any = None
    measurements: list[Measurement] = field(default_factory=list)
    failed: str | None = None


def trained(train: Train, seconds_per_step: Seconds, trial: Trial, state: Any) -> Training:
    """Trains a trial in no time.

    Raises:
        UsageError: The function returned something else than a state and metrics, or seconds that are none.
    """
    running = SimulatedTrial(trial, state)
    seconds = trial.steps * _checked(seconds_per_step(running) if callable(seconds_per_step) else seconds_per_step)
    try:
        new, metrics = _unpacked(train(running))
        measurements = finish(running.measurements(metrics), trial, "the training function returned none")
    except TrialFailed as failed:
        return Training(seconds=seconds, measurements=running.reports, failed=failed.reason)
    except Exception as error:
        error.add_note(f"in the simulated training of trial {trial.number} with {dict(trial.params)}")
        raise
    return Training(seconds=seconds, state=new, measurements=measurements)


def _checked(seconds: float) -> float:
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"simulate: seconds_per_step is {seconds!r}; it must be a finite number from 0 on")
    return seconds


def _unpacked(returned: Any) -> tuple[Any, Mapping[str, Any]]:
    if isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], Mapping):
        return returned[0], returned[1]
    raise UsageError(f"simulate: the training function must return a state and metrics, (state, {{...}}), not {returned!r}")
