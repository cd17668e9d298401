"""The connections of a service: bounded in number, and closed if they do not send a request in time."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 32 << 10


def bounded_protocol(most: int, seconds: float) -> type[asyncio.Protocol]:
    """The protocol of a server's connections.

    Args:
        most: Connections that may be open; a further one is closed at once.
        seconds: Within which a head has to arrive.
    """

    class Bounded(HttpToolsProtocol):
        """A connection. Its requests have to begin, and their heads have to end, in time."""

        open_connections = 0
        _deadline: asyncio.TimerHandle | None = None
        _counted = False
        _head = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if Bounded.open_connections >= most:
                transport.close()
                return
            Bounded.open_connections += 1
            self._counted = True
            self._deadline = self.loop.call_later(seconds, transport.close)

        def data_received(self, data: bytes) -> None:
            self._head += len(data)
            super().data_received(data)
            if self._deadline is not None and self._head > LARGEST_HEAD:
                self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._end_deadline()
            if self._counted:
                Bounded.open_connections -= 1
                self._counted = False
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._end_deadline()
            self._deadline = self.loop.call_later(seconds, self.transport.close)

        def on_headers_complete(self) -> None:
            self._end_deadline()
            self._head = 0
            super().on_headers_complete()

        def _end_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Bounded
