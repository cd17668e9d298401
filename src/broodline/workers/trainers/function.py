"""Trains by calling a Python function."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from broodline.core.trial import Measurement
from broodline.errors import LeaseLost, Preempted, Stopped, TrialFailed
from broodline.workers.metrics import finish, is_repeated
from broodline.workers.running_trial import RunningTrial, in_one_line, recorded
from broodline.workers.trainers.base import Assignment
from broodline.workers.trainers.output import captured, tail

_NOTHING = 'the function neither returned any, such as {"accuracy": 0.93}, nor called trial.report'


class FunctionTrainer:
    """Calls a function with each trial.

    Args:
        function: Takes a RunningTrial, trains, saves, and returns the final metrics, or None if it has reported them.
        capture: Send the output of the function, and of the programs that it starts, into the trial's log.
        cwd: The folder in which each call begins; None: the current one.
    """

    def __init__(
        self,
        function: Callable[[RunningTrial], Mapping[str, Any] | None],
        *,
        capture: bool = False,
        cwd: Path | None = None,
    ) -> None:
        self._function, self._capture, self._cwd = function, capture, cwd or Path()

    def train(self, assignment: Assignment) -> list[Measurement]:
        measurements, record = recorded(assignment.report)
        trial = RunningTrial(replace(assignment, report=record))
        returned = self._call(trial, assignment)
        if returned and not is_repeated(final := trial.measured(dict(returned)), measurements):
            measurements.append(final)
        return finish(measurements, assignment.trial, _NOTHING)

    def close(self) -> None:
        """Does nothing: nothing is kept between trials."""

    def _call(self, trial: RunningTrial, assignment: Assignment) -> Mapping[str, Any] | None:
        try:
            with captured(assignment.log) if self._capture else nullcontext(), _returning_to(self._cwd):
                returned = self._function(trial)
        except (Stopped, LeaseLost, Preempted, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit, or an error that a library invents, must not end the worker
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
        return TrialFailed(in_one_line(error), "\n".join(filter(None, (printed, trace))))


@contextmanager
def _returning_to(folder: Path) -> Iterator[None]:
    """Comes back to a folder, wherever a function goes: the next trial begins there too."""
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield
    finally:
        os.fchdir(here)
        os.close(here)
