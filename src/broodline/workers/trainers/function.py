"""Trains by calling a Python function."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from broodline.core.trial import Measurement
from broodline.errors import LeaseLost, Preempted, Stopped, TrialFailed
from broodline.workers.metrics import finish
from broodline.workers.running_trial import RunningTrial, told
from broodline.workers.trainers.base import Assignment
from broodline.workers.trainers.output import captured, tail

_NOTHING = 'the function neither returned any, such as {"accuracy": 0.93}, nor called trial.report'


class FunctionTrainer:
    """Calls a function with each trial.

    Args:
        function: Takes a RunningTrial, trains, saves, and returns the final metrics, or None if it has reported them.
        capture: Send what is printed meanwhile, by programs that it starts too, into the trial's log.
    """

    def __init__(self, function: Callable[[RunningTrial], Mapping[str, Any] | None], *, capture: bool = False) -> None:
        self._function, self._capture = function, capture

    def train(self, assignment: Assignment) -> list[Measurement]:
        measurements: list[Measurement] = []

        def tell(measurement: Measurement) -> None:
            measurements.append(measurement)
            assignment.report(measurement)

        trial = RunningTrial(
            assignment.trial,
            restore=assignment.restore,
            save=assignment.save,
            worker=assignment.worker,
            devices=assignment.devices,
            tell=tell,
        )
        returned = self._call(trial, assignment)
        if returned:
            measurements.append(trial.measured(dict(returned)))
        return finish(measurements, assignment.trial, _NOTHING)

    def close(self) -> None:
        """Nothing is kept from one trial to the next."""

    def _call(self, trial: RunningTrial, assignment: Assignment) -> Mapping[str, Any] | None:
        try:
            with captured(assignment.log) if self._capture else nullcontext(), _in_its_place():
                returned = self._function(trial)
        except (Stopped, LeaseLost, Preempted, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit, and what else a library may invent, must not end the worker
            trial.check()
            raise self._failed(error, assignment) from error
        trial.check()
        if returned is not None and not isinstance(returned, Mapping):
            raise TrialFailed(
                f"the function returned a {type(returned).__name__}, {returned!r:.100}: "
                'it returns its metrics by name, such as {"accuracy": 0.93}, or None'
            )
        return returned

    def _failed(self, error: BaseException, assignment: Assignment) -> TrialFailed:
        printed = tail(assignment.log) if self._capture else ""
        if isinstance(error, TrialFailed):
            return TrialFailed(error.reason, "\n".join(filter(None, (printed, error.output))))
        own = error.__traceback__.tb_next if error.__traceback__ else None  # the first frame is ours
        trace = "".join(traceback.format_exception(type(error), error, own)).rstrip()
        return TrialFailed(told(error), "\n".join(filter(None, (printed, trace))))


@contextmanager
def _in_its_place() -> Iterator[None]:
    """Comes back to the folder that this process works in, wherever a function goes: the next trial begins there too."""
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield
    finally:
        os.fchdir(here)
        os.close(here)
