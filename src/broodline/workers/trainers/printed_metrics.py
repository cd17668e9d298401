"""Takes the metrics that a program prints, line by line, while it runs."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, BinaryIO

from broodline.workers.metric_lines import Lines, Notation, has_any
from broodline.workers.trainers.measurements import Measurements


class PrintedMetrics:
    """Copies a program's output into its log, and takes the metrics in it.

    A program prints more than its metrics, such as its configuration. So a line counts if it has a metric of the objective. If
    there is no such line, the last one with any value counts: the error about the missing metric then names those that it has.

    Args:
        log: Where the output goes.
        notation: Finds the metrics in a line.
        names: The metrics of the objective; none: every line counts.
        measurements: Takes the metrics.
    """

    def __init__(self, log: BinaryIO, notation: Notation, names: Collection[str], measurements: Measurements) -> None:
        self._log, self._notation, self._names, self._measurements = log, notation, names, measurements
        self._lines = Lines()
        self._found: list[Mapping[str, Any]] = []
        self._other: Mapping[str, Any] | None = None
        self._redrawn: str | None = None

    def receive(self, data: bytes) -> None:
        """Takes some output; b"" ends it. The metrics in it wait for `follow`, so that no error ends a read of a pipe."""
        self._log.write(data)
        for line, redrawn in self._lines.feed(data):
            self._read(line, redrawn=redrawn)

    def follow(self) -> None:
        """Takes the metrics of the lines that are complete by now.

        Raises:
            TrialFailed: A value can't be a metric.
        """
        found, self._found = self._found, []
        for values in found:
            self._measurements.add(values)

    def finish(self) -> None:
        """Takes the rest, a last line without its end too; to be called when the output has ended.

        Raises:
            TrialFailed: A value can't be a metric.
        """
        for line, redrawn in self._lines.rest():
            self._read(line, redrawn=redrawn)
        self.follow()
        if self._other is not None and not self._measurements.taken:
            self._measurements.add(self._other)

    def _read(self, line: str, *, redrawn: bool) -> None:
        values = self._notation.read(line)
        if values is None:
            return
        if not has_any(values, self._names):
            self._other = values
        elif not (redrawn and self._is_repeated(values)):
            self._found.append(values)

    def _is_repeated(self, values: Mapping[str, Any]) -> bool:
        """True for a progress bar that is redrawn with the same values: how often depends on the speed of the machine."""
        text = json.dumps(values, sort_keys=True)
        before, self._redrawn = self._redrawn, text
        return text == before
