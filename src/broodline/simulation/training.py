"""The training of a simulated worker: a function of the trial in place of a program."""

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
    """A running trial of a simulation.

    Attributes:
        params: The hyperparameters.
        state: A copy of the state that the training of the parent returned; None without a parent.
        start: The step at which training starts.
        steps: The number of steps to train.
        number, attempt, member, generation: The identity of the trial.
        seed: The seed, the same at every attempt.
        rng: Random numbers from the seed, the same at every attempt.

    Args:
        trial: The record of the trial.
        state: The state of the parent.
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
        """Reports metrics. The controller receives them when the worker reaches the step, and may end the trial then.

        Args:
            step: The step, counted from the start of the lineage; by default the step at which this trial ends.
            **metrics: Numbers by name.
        """
        self.reports.append(self._measured({**metrics, "step": step}))

    def measurements(self, metrics: Mapping[str, Any]) -> list[Measurement]:
        """All reported measurements and the final metrics."""
        return [*self.reports, self._measured(metrics)]

    def _measured(self, values: Mapping[str, Any]) -> Measurement:
        last = self.reports[-1] if self.reports else None
        return measured(values, end=self.start + self.steps, last=last)


TrainFunction = Callable[[SimulatedTrial], tuple[Any, Mapping[str, Any]]]
"""Trains a trial: returns its new state and its metrics. A `TrialFailed` is a failure of the program; any other
error is a mistake in the function and ends the simulation."""

Seconds = float | Callable[[SimulatedTrial], float]
"""Virtual seconds that a step takes a worker of normal speed; a number, or a function of the trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The result of an attempt that no fault interrupts.

    Args:
        seconds: The duration on a worker of normal speed.
        state: The new state; None if the program failed.
        measurements: All measurements.
        failed: The reason why the program failed; None if it did not.
    """

    seconds: float
    state: Any = None
    measurements: list[Measurement] = field(default_factory=list)
    failed: str | None = None


def trained(train: TrainFunction, seconds_per_step: Seconds, trial: Trial, state: Any) -> Training:
    """Trains a trial; its duration is computed, not waited for.

    Raises:
        UsageError: The function did not return a state and metrics, or the seconds are not a finite number.
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
        raise UsageError(f"simulate: seconds_per_step: must be a finite number from 0 on, got {seconds!r}")
    return seconds


def _unpacked(returned: Any) -> tuple[Any, Mapping[str, Any]]:
    if isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], Mapping):
        return returned[0], returned[1]
    raise UsageError(f"simulate: the training function must return a state and metrics, (state, {{...}}), got {returned!r}")
