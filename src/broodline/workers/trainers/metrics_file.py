"""Follows the file to which a running program appends its metrics."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from broodline.core.trial import Measurement, Trial
from broodline.workers.metrics import measured, parsed


class Reports:
    """What a program has reported so far.

    Args:
        path: The file that it appends JSON lines to; made here, empty.
        trial: Whose metrics they are.
        tell: Is told each measurement as it is found.
    """

    def __init__(self, path: Path, trial: Trial, tell: Callable[[Measurement], None]) -> None:
        self.path, self._trial, self._tell = path, trial, tell
        self._read = 0
        self.measurements: list[Measurement] = []
        path.touch()

    def follow(self) -> None:
        """Takes what was appended since, as far as its lines are complete.

        Raises:
            TrialFailed: A line is no JSON object, or holds what can't be a metric.
        """
        complete, newline, _ = self._appended().rpartition(b"\n")
        self._read += len(complete) + len(newline)
        self._take(complete)

    def finish(self) -> list[Measurement]:
        """Takes the rest, a last line without its end too, and returns all measurements.

        Raises:
            TrialFailed: A line is no JSON object, or holds what can't be a metric.
        """
        rest = self._appended()
        self._read += len(rest)
        self._take(rest)
        return self.measurements

    def add(self, values: Mapping[str, Any]) -> None:
        """Takes metrics that were told in another way than by the file.

        Raises:
            TrialFailed: They hold what can't be a metric.
        """
        self._add(self._measured(values))

    def conclude(self, values: Mapping[str, Any]) -> None:
        """The same, of metrics that may only say again what was reported last.

        Raises:
            TrialFailed: They hold what can't be a metric.
        """
        concluding = self._measured(values)
        if not self.measurements or _text(concluding) != _text(self.measurements[-1]):
            self._add(concluding)

    def _measured(self, values: Mapping[str, Any]) -> Measurement:
        return measured(values, end=self._trial.end, last=self.measurements[-1] if self.measurements else None)

    def _add(self, measurement: Measurement) -> None:
        self.measurements.append(measurement)
        self._tell(measurement)

    def _appended(self) -> bytes:
        try:
            with self.path.open("rb", buffering=0) as file:
                if file.seek(0, os.SEEK_END) < self._read:
                    self._read = 0  # the program has begun it anew
                file.seek(self._read)
                return file.read()
        except FileNotFoundError:
            return b""  # between the removal and the renaming of a program that writes it anew

    def _take(self, data: bytes) -> None:
        for line in data.decode(errors="replace").split("\n"):
            if line.strip():
                self.add(parsed(line))


def _text(measurement: Measurement) -> str:
    """To compare by: in a text NaN equals itself."""
    return json.dumps([measurement.step, measurement.metrics], sort_keys=True)
