"""The output of programs: it goes to the log of the trial, and its tail to the error of a trial that failed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from broodline.workers.metrics import found

TAIL_LINES, TAIL_BYTES = 20, 4096
_LONGEST_LINE = 1 << 20


@contextmanager
def log_file(path: Path) -> Iterator[BinaryIO]:
    """A log, empty and open to be appended to; it is removed if it stays empty."""
    with path.open("ab", buffering=0) as file:
        file.truncate(0)  # the same attempt may have started before, and found the disk full
        try:
            yield file
        finally:
            if not os.fstat(file.fileno()).st_size:
                path.unlink(missing_ok=True)


def tail(path: Path, since: int = 0) -> str:
    """The last lines of a log, from a byte on, with undecodable bytes replaced; "" if there is no log."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since, size - TAIL_BYTES))
            return last_lines(file.read().decode(errors="replace"))
    except OSError:
        return ""


def last_lines(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines of a string, without trailing space."""
    return "\n".join(text.rstrip().splitlines()[-lines:])


class JsonLines:
    """Copies a program's standard output into its log, and remembers the last line that is a JSON object.

    Args:
        log: Where the output goes.
    """

    def __init__(self, log: BinaryIO) -> None:
        self._log, self._unfinished = log, b""
        self._last: dict[str, Any] | None = None

    def receive(self, data: bytes) -> None:
        """Takes some output; b"" ends it."""
        self._log.write(data)
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        self._unfinished = self._unfinished[-_LONGEST_LINE:]
        for line in lines:
            self._look_at(line)

    def last(self) -> dict[str, Any] | None:
        """The last JSON object, or None if there was none; to be called when the output has ended."""
        self._look_at(self._unfinished)
        self._unfinished = b""
        return self._last

    def _look_at(self, line: bytes) -> None:
        values = found(line.decode(errors="replace"))
        self._last = self._last if values is None else values


@contextmanager
def captured(path: Path) -> Iterator[None]:
    """Sends the output of this process, and of those that it starts, into a log: by its file descriptors, not by `sys.stdout`."""
    with log_file(path) as file:
        _flush()
        saved = os.dup(1), os.dup(2)
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield
        finally:
            _flush()
            for descriptor, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)


def _flush() -> None:
    """Empties the buffers of Python and of C, which would otherwise be written much later, to wherever output goes then."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # a function has closed or removed it
            stream.flush()
    _c_library().fflush(None)


@cache
def _c_library() -> Any:
    import ctypes

    return ctypes.CDLL(None)
