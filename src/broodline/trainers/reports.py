"""Follows the file to which a running program appends its metrics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from broodline.model import Measurement, Trial
from broodline.trainers.measuring import measured, parsed


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

    def _appended(self) -> bytes:
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self._read)
                return file.read()
        except FileNotFoundError:
            return b""  # between the removal and the renaming of a program that writes it anew

    def _take(self, data: bytes) -> None:
        for line in data.decode(errors="replace").split("\n"):
            if line.strip():
                last = self.measurements[-1] if self.measurements else None
                self.measurements.append(measured(parsed(line), end=self._trial.end, last=last))
                self._tell(self.measurements[-1])
