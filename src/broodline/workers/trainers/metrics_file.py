"""Follows the file to which a running program appends its metrics."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from broodline.core.trial import Measurement, Trial
from broodline.workers.metrics import measured, parsed


class MetricsFile:
    """The measurements that a program has made so far, in the file or otherwise.

    Args:
        path: The file, to which the program appends JSON lines; made here, empty.
        trial: The trial that is measured.
        report: Called with each measurement as it is found.
    """

    def __init__(self, path: Path, trial: Trial, report: Callable[[Measurement], None]) -> None:
        self.path, self._trial, self._report = path, trial, report
        self._read = 0
        self.measurements: list[Measurement] = []
        path.touch()

    def follow(self) -> None:
        """Takes the lines that are complete by now.

        Raises:
            TrialFailed: A line is not a JSON object, or a value can't be a metric.
        """
        complete, newline, _ = self._appended().rpartition(b"\n")
        self._read += len(complete) + len(newline)
        self._take(complete)

    def finish(self) -> list[Measurement]:
        """Takes the rest, a last line without its end too, and returns all measurements.

        Raises:
            TrialFailed: A line is not a JSON object, or a value can't be a metric.
        """
        rest = self._appended()
        self._read += len(rest)
        self._take(rest)
        return self.measurements

    def add(self, values: Mapping[str, Any]) -> None:
        """Takes metrics that did not come through the file.

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
        if not self.measurements or _as_text(final) != _as_text(self.measurements[-1]):
            self._add(final)

    def _measured(self, values: Mapping[str, Any]) -> Measurement:
        return measured(values, end=self._trial.end, last=self.measurements[-1] if self.measurements else None)

    def _add(self, measurement: Measurement) -> None:
        self.measurements.append(measurement)
        self._report(measurement)

    def _appended(self) -> bytes:
        try:
            with self.path.open("rb", buffering=0) as file:
                if file.seek(0, os.SEEK_END) < self._read:
                    self._read = 0  # the program has started the file over
                file.seek(self._read)
                return file.read()
        except FileNotFoundError:
            return b""  # a program that starts its file over may remove it and then rename another into its place

    def _take(self, data: bytes) -> None:
        for line in data.decode(errors="replace").split("\n"):
            if line.strip():
                self.add(parsed(line))


def _as_text(measurement: Measurement) -> str:
    """A form for comparing: as a number, NaN does not equal itself."""
    return json.dumps([measurement.step, measurement.metrics], sort_keys=True)
