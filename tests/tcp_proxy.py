"""A TCP proxy between a client and a server, which cuts a connection when it is told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

Cut = Callable[[bytes], bool]


class Proxy:
    """Passes bytes on in both directions. `cut_after` of a request forwards it, waits for the answer and drops that.

    Args:
        port: The port of the server on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut_after: Cut = lambda _request: False
        self.cuts = 0
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                dropping = threading.Event()
                for pump in (self._pump_requests, self._pump_answers):
                    threading.Thread(target=pump, args=(client, server, dropping), daemon=True).start()

    def _pump_requests(self, client: socket.socket, server: socket.socket, dropping: threading.Event) -> None:
        with suppress(OSError):
            while request := client.recv(65536):
                if self.cut_after(request):
                    dropping.set()
                server.sendall(request)
        _close(client, server)

    def _pump_answers(self, client: socket.socket, server: socket.socket, dropping: threading.Event) -> None:
        with suppress(OSError):
            while answer := server.recv(65536):
                if dropping.is_set():
                    self.cuts += 1
                    break
                client.sendall(answer)
        _close(client, server)


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
