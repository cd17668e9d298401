"""The pipes between a worker and a program, none of which makes the worker wait: data is passed on as it arrives."""

from __future__ import annotations

import fcntl
import os
import selectors
import termios
from array import array
from collections.abc import Callable
from functools import partial

_CHUNK = 65536


class Pipes:
    """Reads from some pipes and writes to another, whenever `wait` is called."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._unsent, self._sent, self._refused = b"", 0, False

    def watch(self, descriptor: int) -> None:
        """Lets `wait` return as soon as a descriptor becomes readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, _do_nothing)

    def listen(self, descriptor: int, receive: Callable[[bytes], None]) -> None:
        """Passes on the data that arrives on a pipe, and b"" when it was closed."""
        os.set_blocking(descriptor, False)
        self._selector.register(descriptor, selectors.EVENT_READ, partial(self._read, descriptor, receive))

    def send(self, descriptor: int, data: bytes) -> None:
        """Writes data to a pipe, as fast as the program reads."""
        self._unsent, self._sent = data, len(data)
        os.set_blocking(descriptor, False)
        self._selector.register(descriptor, selectors.EVENT_WRITE, partial(self._write, descriptor))

    @property
    def sending(self) -> bool:
        """True while a part of the data is still to be written."""
        return bool(self._unsent)

    def unread(self, descriptor: int) -> bool:
        """True if the program has read nothing of the data that was sent last, as far as the system shows."""
        waiting = array("i", [0])
        fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
        return self._refused or waiting[0] + len(self._unsent) >= self._sent

    def wait(self, seconds: float) -> None:
        """Waits until a pipe is ready, at most so many seconds, and passes on its data: a read takes as much as a pipe holds."""
        for key, _ in self._selector.select(seconds):
            key.data()

    def stop_watching(self, descriptor: int) -> None:
        """Forgets a descriptor, before it is closed."""
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def close(self) -> None:
        """Forgets all descriptors; closes none."""
        self._selector.close()

    def _read(self, descriptor: int, receive: Callable[[bytes], None]) -> None:
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            self.stop_watching(descriptor)
        receive(data)

    def _write(self, descriptor: int) -> None:
        try:
            self._unsent = self._unsent[os.write(descriptor, self._unsent) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._unsent, self._refused = b"", True  # the program is about to end, or never reads
        if not self._unsent:
            self.stop_watching(descriptor)


def _do_nothing() -> None:
    """For a descriptor that only ends the wait."""
