"""Waits for commits of other processes by LISTEN and NOTIFY: the server wakes a process, and nothing is polled.

Theory of operation. The first wait opens a connection, starts to listen and returns at once: a commit before that would have
been missed, so the caller has to look again. From then on a transaction notes how many notifications have come before it reads
(`mark`), and a wait returns at once if more have come since. So no commit between the two is missed, and a notification that
arrives late costs one needless look.

A listening connection that is lost may have lost notifications with it. The wait returns, and the next one listens again in the
same way. While that fails the caller looks once a second.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

from broodline.storage.postgres.address import Address

_RECONNECT_SECONDS = 1.0


class Listener:
    """Listens to the commits of studies. Threads may share it; each has its own mark.

    Args:
        address: The address of the database.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: psycopg.Connection[Any] | None = None
        self._channels: set[str] = set()
        self._count = 0
        self._one = threading.Lock()  # over the connection
        self._of_thread = threading.local()

    def mark(self) -> None:
        """Notes the notifications that have come by now; call it before the records are read."""
        if self._connection is not None and self._one.acquire(blocking=False):
            try:  # else another thread is reading them
                self._read(0)
            finally:
                self._one.release()
        self._of_thread.mark = self._count

    def wait(self, channel: str, seconds: float) -> None:
        """Returns when a notification has come since this thread's mark, or the connection was lost, or the time is over."""
        until = time.monotonic() + seconds
        if not self._one.acquire(timeout=seconds):
            return
        try:
            if self._listens(channel, seconds) and self._count == getattr(self._of_thread, "mark", -1):
                self._read(max(0.0, until - time.monotonic()))
        finally:
            self._one.release()
        self._of_thread.mark = self._count

    def close(self) -> None:
        """Ends the connection."""
        connection, self._connection = self._connection, None
        self._channels.clear()
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _listens(self, channel: str, seconds: float) -> bool:
        """Starts to listen to a channel; returns False if this process did not listen to it until now."""
        if self._connection is not None and channel in self._channels:
            return True
        try:
            if self._connection is None:
                self._connection = self._address.connect(autocommit=True)
            self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            self._channels.add(channel)
        except psycopg.Error:  # the next transaction reports what is wrong
            self.close()
            time.sleep(min(seconds, _RECONNECT_SECONDS))
        return False

    def _read(self, seconds: float) -> None:
        """Counts the notifications that have come; waits for the first one for at most so long."""
        assert self._connection is not None
        try:
            for _ in self._connection.notifies(timeout=seconds, stop_after=1):
                self._count += 1
        except psycopg.Error:
            self.close()
            self._count += 1  # of what was lost with the connection nothing is known
