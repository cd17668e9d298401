"""The measurements that a program has made so far, reported one by one as they are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from broodline.core.trial import Measurement, Trial
from broodline.workers.metrics import is_repeated, measured


class Measurements:
    """The measurements that a program has made so far.

    Args:
        trial: The trial that is measured.
        report: Called with each measurement as it is found.
    """

    def __init__(self, trial: Trial, report: Callable[[Measurement], None]) -> None:
        self._trial, self._report = trial, report
        self.taken: list[Measurement] = []

    def add(self, values: Mapping[str, Any]) -> None:
        """Takes metrics.

        Raises:
            TrialFailed: A value can't be a metric.
        """
        self._add(self._measured(values))

    def conclude(self, values: Mapping[str, Any]) -> None:
        """Takes the final metrics, unless they only repeat the last measurement.

        Raises:
            TrialFailed: A value can't be a metric.
        """
        final = self._measured(values)
        if not is_repeated(final, self.taken):
            self._add(final)

    def _measured(self, values: Mapping[str, Any]) -> Measurement:
        return measured(values, end=self._trial.end, last=self.taken[-1] if self.taken else None)

    def _add(self, measurement: Measurement) -> None:
        self.taken.append(measurement)
        self._report(measurement)
