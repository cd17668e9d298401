"""Watches what is in a directory at every moment: the kernel queues each change, so none is missed on a busy machine."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _OVERFLOW = 0x40, 0x80, 0x100, 0x200, 0x4000
_HEAD = struct.Struct("iIII")


class Watch:
    """The names in a directory, as they came and went.

    Args:
        directory: One that exists.
    """

    def __init__(self, directory: Path) -> None:
        self.most = 0
        self.came: list[str] = []
        self.went: list[str] = []
        self._there: set[str] = set()
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "inotify_init1"):
            pytest.skip("only Linux tells of every change of a directory")
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK)
        watched = libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE)
        assert min(self._descriptor, watched) >= 0, os.strerror(ctypes.get_errno())
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def stop(self) -> None:
        """Takes in what has happened up to now, and ends."""
        os.close(self._waker)
        self._thread.join()
        self._take_in()
        os.close(self._wake)
        os.close(self._descriptor)

    def _follow(self) -> None:
        while self._wake not in select.select([self._descriptor, self._wake], [], [])[0]:
            self._take_in()

    def _take_in(self) -> None:
        try:
            data = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return
        while data:
            _, mask, _, length = _HEAD.unpack_from(data)
            name = data[_HEAD.size : _HEAD.size + length].rstrip(b"\0").decode()
            data = data[_HEAD.size + length :]
            self._happened(mask, name)
        self._take_in()

    def _happened(self, mask: int, name: str) -> None:
        assert not mask & _OVERFLOW, "the kernel had more to tell than it could keep"
        if mask & (_MOVED_TO | _CREATE):
            self._there.add(name)
            self.came.append(name)
        else:
            self._there.discard(name)
            self.went.append(name)
        self.most = max(self.most, len(self._there))


@contextmanager
def watching(directory: Path) -> Iterator[Watch]:
    """Watches a directory, which is made if it isn't there, while the block runs."""
    directory.mkdir(parents=True, exist_ok=True)
    watch = Watch(directory)
    try:
        yield watch
    finally:
        watch.stop()
