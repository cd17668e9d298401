"""Follows the file to which a running program appends its metrics."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from broodline.errors import TrialFailed
from broodline.workers.metrics import parsed
from broodline.workers.trainers.measurements import Measurements

_CHUNK = 1 << 20
_LONGEST_LINE = 16 << 20  # bytes; a longer one is no measurement, and would fill the memory
_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device", stat.S_IFSOCK: "a socket"}


class MetricsFile:
    """The lines of JSON in a file.

    Args:
        path: The file, to which the program appends them; made here, empty.
        measurements: Takes them.
    """

    def __init__(self, path: Path, measurements: Measurements) -> None:
        self.path, self._measurements = path, measurements
        self._read, self._unfinished = 0, b""
        path.touch()

    def follow(self) -> None:
        """Takes the lines that are complete by now.

        Raises:
            TrialFailed: A line is not a JSON object, a value can't be a metric, or the file was replaced by something else.
        """
        for data in self._appended():
            complete, newline, rest = data.rpartition(b"\n")
            self._take(self._unfinished + complete if newline else b"")
            self._unfinished = rest if newline else self._unfinished + rest
            if len(self._unfinished) > _LONGEST_LINE:
                raise TrialFailed(f"a line of the metrics file is longer than {_LONGEST_LINE >> 20} MiB")

    def finish(self) -> None:
        """Takes the rest, a last line without its end too.

        Raises:
            TrialFailed: As above.
        """
        self.follow()
        rest, self._unfinished = self._unfinished, b""
        self._take(rest)

    def _appended(self) -> Iterator[bytes]:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)  # a FIFO must not make the worker wait
        except FileNotFoundError:
            return  # a program that starts its file over may remove it and then rename another into its place
        except OSError as error:
            raise TrialFailed(f"the metrics file can't be read: {error.strerror}") from error
        try:
            yield from self._chunks(descriptor)
        finally:
            os.close(descriptor)

    def _chunks(self, descriptor: int) -> Iterator[bytes]:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
            raise TrialFailed(f"the program replaced its metrics file by {kind}; append lines to the file instead")
        if status.st_size < self._read:
            self._read, self._unfinished = 0, b""  # the program has started the file over
        os.lseek(descriptor, self._read, os.SEEK_SET)
        while data := os.read(descriptor, _CHUNK):
            self._read += len(data)
            yield data

    def _take(self, data: bytes) -> None:
        for line in data.decode(errors="replace").split("\n"):
            if line.strip():
                self._measurements.add(parsed(line))
