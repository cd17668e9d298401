"""The output of programs: it goes to the log of the trial, and its tail to the error of a trial that failed."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from broodline.core.text import printable

TAIL_LINES, TAIL_BYTES = 20, 4096
LOG_BYTES = 64 << 20  # the longest log of an attempt, as far as a look several times a second can hold it
_KEPT_BYTES = 1 << 20  # of each end of a longer log
_CUT = b"\n[broodline: the log grew over %d MiB; the part between the line above and the line below is left out]\n"
_WATCH_SECONDS = 0.5


@contextmanager
def log_file(path: Path) -> Iterator[BinaryIO]:
    """A log, empty and open to be appended to; it is removed if it stays empty."""
    with path.open("ab+", buffering=0) as file:
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
            file.seek(max(since if since <= size else 0, size - TAIL_BYTES))  # a log may have been cut
            return last_lines(printable(file.read().decode(errors="replace")))
    except OSError:
        return ""


def last_lines(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines of a string, without trailing space."""
    return "\n".join(text.rstrip().splitlines()[-lines:])


def keep_short(log: int) -> None:
    """Cuts the middle out of a log that has grown too long: a program that prints without end must not fill the disk.

    The log keeps its beginning and its end. Its writers append, so that they continue after the end.

    Args:
        log: Its descriptor, open for reading and appending.
    """
    size = os.fstat(log).st_size
    if size <= LOG_BYTES:
        return
    end = os.pread(log, _KEPT_BYTES, size - _KEPT_BYTES)
    os.ftruncate(log, _KEPT_BYTES)
    os.write(log, _CUT % (LOG_BYTES >> 20) + end)


class LogWatch:
    """Keeps the logs of the functions of this process short, by one thread: a thread for each call costs more than a short call.

    The thread starts with the first log, and sleeps while there is none.
    """

    def __init__(self) -> None:
        self._logs: set[int] = set()
        self._any, self._lock = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, log: int) -> Iterator[None]:
        """Keeps a log short while its descriptor is open and a function writes to it."""
        self._add(log)
        try:
            yield
        finally:
            with self._lock:  # a look at a descriptor that is closed at the same time could cut another file
                self._logs.discard(log)
            keep_short(log)

    def _add(self, log: int) -> None:
        with self._lock:
            self._logs.add(log)
            self._any.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="broodline log", daemon=True)
                self._thread.start()

    def _look(self) -> None:
        while self._any.wait():
            time.sleep(_WATCH_SECONDS)
            with self._lock:
                for log in self._logs:
                    keep_short(log)
                if not self._logs:
                    self._any.clear()

    def forget(self) -> None:
        """Starts again in a process that was forked: it has no thread, and a lock that the thread held stays locked there."""
        self.__init__()  # type: ignore[misc]


_WATCH = LogWatch()
os.register_at_fork(after_in_child=_WATCH.forget)


@contextmanager
def captured(path: Path) -> Iterator[None]:
    """Sends the output of this process, and of those that it starts, into a log: by its file descriptors, not by `sys.stdout`."""
    with log_file(path) as file:
        _flush()
        saved = os.dup(1), os.dup(2)
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            with _WATCH.over(file.fileno()):
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
