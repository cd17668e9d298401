"""Reads metrics from the lines that a program prints: one line at a time, so that any batching gives the same measurements.

The key `metrics` of a study file names the notation:

* `"stdout"`: objects, as JSON or as Python dicts (`ObjectLines`).
* `"name=value"`: pairs such as `val_acc=0.91 loss=0.3` (`PairLines`).
* `{ val_acc = "regex" }`: the value that each regular expression finds (`PatternLines`).

A value that is not finite is a value: a program that prints `val_acc=nan` has diverged, whatever it printed before. A value
that is no number stays a string, so that the trial fails with it instead of completing with an earlier number.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from broodline.core.text import without_escapes
from broodline.workers.printed_objects import ObjectFinder

_DELIMITERS = r"\s=,;:|(){}\[\]<>\"'"
_PAIR = re.compile(rf"""(?<![^{_DELIMITERS}])([^{_DELIMITERS}-][^{_DELIMITERS}]*)\s*=(?!=)\s*("[^"]*"|'[^']*'|[^\s,;|)\]}}]+)""")
_CALL = re.compile(r"[A-Za-z_][\w.]*\((.+)")  # the start of `tensor(0.9)`
_INTEGER = re.compile(r"[-+]?\d{1,4000}")
_NOT_FINITE = re.compile(r"(?<![A-Za-z0-9_])[-+]?(?:nan|infinity|inf)(?![A-Za-z0-9_])", re.IGNORECASE)
_ESCAPED_RETURN = b"\r\n"
_LONGEST_LINE = 1 << 20


class Notation(Protocol):
    """Finds the metrics in lines, which come in the order in which they were printed."""

    def read(self, line: str) -> Mapping[str, Any] | None:
        """The metrics, and perhaps `step`, of a line; None if it has none."""


class ObjectLines:
    """Objects that are printed, as JSON or as Python dicts."""

    def __init__(self) -> None:
        self._finder = ObjectFinder()

    def read(self, line: str) -> Mapping[str, Any] | None:
        return self._finder.find(line)


class PairLines:
    """Pairs of a name and a value, such as `epoch 3: val_acc=0.91, loss = 0.3`."""

    def read(self, line: str) -> Mapping[str, Any] | None:
        return {name: number_in(value) for name, value in _PAIR.findall(line)} or None if "=" in line else None


class PatternLines:
    """The values that regular expressions find, each in the lines that it matches.

    A step that its pattern found is the step of all values that follow.

    Args:
        patterns: Regular expressions by metric, and perhaps one for `step`. The value is the group, or the whole match.
    """

    def __init__(self, patterns: Mapping[str, str]) -> None:
        self._patterns = {name: re.compile(pattern) for name, pattern in patterns.items()}
        self._step: dict[str, Any] = {}

    def read(self, line: str) -> Mapping[str, Any] | None:
        values = {name: value for name, pattern in self._patterns.items() if (value := _found(pattern, line)) is not None}
        if "step" in values:
            self._step = {"step": values.pop("step")}
        return {**self._step, **values} if values else None


def notation(metrics: str | Mapping[str, str]) -> Notation:
    """The notation that a study file's `metrics` names."""
    if isinstance(metrics, Mapping):
        return PatternLines(metrics)
    return PairLines() if metrics == "name=value" else ObjectLines()


def number_in(text: str) -> Any:
    """The number that a string spells; the string itself if it spells none.

    >>> number_in("3"), number_in("91.5%"), number_in("-NAN"), number_in("tensor(0.5"), number_in("n/a")
    (3, 91.5, nan, 0.5, 'n/a')
    """
    text = text.strip("\"'")
    plain = text.rstrip(".%")
    inner = _CALL.fullmatch(plain)
    for spelling in (plain, inner[1].rstrip(")") if inner else plain):
        if _INTEGER.fullmatch(spelling):
            return int(spelling)
        try:
            return float(spelling)
        except ValueError:
            continue
    return text


def _found(pattern: re.Pattern[str], line: str) -> Any:
    """The last value that a pattern finds in a line; None if it finds none.

    A pattern for digits, such as `acc: ([0-9.]+)`, does not match `acc: nan`. So it is also tried on the line with `0.0` in the
    place of `nan`, of the same length, sign included: a value found in that place is not finite.
    """
    match = _last(pattern, line)
    places = [place.span() for place in _NOT_FINITE.finditer(line)]
    if places:
        digits = _NOT_FINITE.sub(lambda place: "0." + "0" * (len(place[0]) - 2), line)
        if (other := _last(pattern, digits)) and (match is None or other.start() >= match.start()):
            start, end = other.span(pattern.groups)
            for first, last in places:
                if start < last and first < end:
                    return number_in(line[first:last])
            match = match or other
    return None if match is None else number_in(match[pattern.groups])


def _last(pattern: re.Pattern[str], line: str) -> re.Match[str] | None:
    last = None
    for match in pattern.finditer(line):
        if match[pattern.groups]:
            last = match
    return last


class Lines:
    """Cuts output into lines. A carriage return ends a line too: progress bars redraw their line with it."""

    def __init__(self) -> None:
        self._unfinished, self._held, self._redrawn = b"", b"", False

    def feed(self, data: bytes) -> list[tuple[str, bool]]:
        """The lines that are complete with this data, each with whether it is one state of a line that is redrawn."""
        # Only the new data is searched for ends: output without any would be searched again with every chunk.
        data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") else b""  # perhaps the first half of an end of line
        first, *more = re.split(rb"([\r\n])", data[: len(data) - len(self._held)].replace(_ESCAPED_RETURN, b"\n"))
        *parts, rest = self._unfinished + first, *more
        self._unfinished = rest[-_LONGEST_LINE:]
        return [line for text, end in zip(parts[::2], parts[1::2], strict=True) if (line := self._line(text, end))]

    def rest(self) -> list[tuple[str, bool]]:
        """The last line, which needs no end."""
        text, self._unfinished, self._held = self._unfinished, b"", b""
        return [line] if (line := self._line(text, b"")) else []

    def _line(self, text: bytes, end: bytes) -> tuple[str, bool] | None:
        redrawn, self._redrawn = self._redrawn or end == b"\r", end == b"\r"
        line = without_escapes(text.decode(errors="replace"))
        return (line, redrawn) if line.strip() else None


def has_any(values: Mapping[str, Any], names: Collection[str]) -> bool:
    """True if one of these metrics is among the values, or no metric is named."""
    return not names or any(name in values for name in names)
