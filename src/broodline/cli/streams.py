"""Standard input, output and error of a command, where one of them is closed, full, or a pipe without a reader.

Theory of operation. A study must not depend on its audience. There are three cases:

* A descriptor below 3 is closed (`>&-`, some daemons). The next file to be opened would get its number, and the first print
  would then write into that file: into the database, for instance. `open_missing` opens the null device in its place.
* A command that works on a study writes to a full disk, or to a pipe that its reader has closed. `unfailing` drops what can't
  be written, so that the study continues and the exit status is that of the study.
* A command that only prints has nothing else to do. It ends with one message.

Standard error is always of the second kind: an error message that can't be written must not replace the exit status.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


def open_missing() -> None:
    """Opens the null device in place of each standard stream that is closed."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if not _is_open(descriptor):
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "r" if descriptor == 0 else "w", encoding="utf-8", closefd=False))


@contextmanager
def unfailing(*, output: bool) -> Iterator[None]:
    """Drops whatever standard error refuses, for as long as the context lasts.

    Args:
        output: The same for standard output.
    """
    former = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _unfailing(sys.stdout) if output else sys.stdout, _unfailing(sys.stderr)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream not in former:
                stream.flush()
        sys.stdout, sys.stderr = former


def flush_output() -> OSError | None:
    """Writes what standard output still holds; returns the error if that fails, and drops all of it."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Else Python reports the failure again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None


def is_of_output(error: OSError) -> bool:
    """True for an error that a print raised: it names no file, and is one of those that a write may end with."""
    return error.filename is None and error.errno in _WRITING


class _Unfailing(io.FileIO):
    """A file that accepts everything and drops the data that can't be written."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


def _unfailing(stream: TextIO) -> TextIO:
    """The same stream without write errors; a stream without a descriptor of its own (a test's) stays as it is."""
    try:
        descriptor = stream.fileno()
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return stream
    raw = io.BufferedWriter(_Unfailing(descriptor, "w", closefd=False))
    line_buffering = bool(getattr(stream, "line_buffering", False))
    return io.TextIOWrapper(raw, encoding=stream.encoding, errors="replace", line_buffering=line_buffering)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
