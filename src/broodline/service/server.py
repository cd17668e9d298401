"""Serves a store over HTTP until a signal ends it; the calls in progress are answered first."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import uvicorn

from broodline.errors import UsageError
from broodline.service.application import Application
from broodline.service.auth import Tokens
from broodline.service.connections import bounded_protocol
from broodline.service.guard import Limits
from broodline.storage.base import Store

PORT = 8765
_GRACE = 20  # seconds for the calls in progress
_KEEP_ALIVE = 75  # seconds without a request, after which a connection is closed
_SWITCH_SECONDS = 0.0005  # the event loop and the thread that writes share an interpreter: neither waits for long


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Where and how a service listens.

    Args:
        host: The address; port 0 is any free one.
        hosts: Further names by which it is called.
        certificate, key: Files for TLS; None: no TLS.
        limits: The limits.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    hosts: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    limits: Limits = field(default_factory=Limits)


def check_certificate(certificate: Path, key: Path) -> None:
    """Refuses files that are no certificate and its key.

    Raises:
        UsageError: They can't be used.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # of OpenSSL too
        raise UsageError(f"{certificate}: the certificate or its key {key} can't be used: {error}") from error


class _Server(uvicorn.Server):
    """A server that answers the workers that wait as soon as it is to end."""

    def __init__(self, config: uvicorn.Config, application: Application, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._application, self._ready = application, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # The server's own method raises the signal again at the end: a service that was asked to end has not failed.
        self.force_exit = self.should_exit
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._application.calls.waiting.end_all)


def serve(store: Store, *, tokens: Tokens, options: ServerOptions, ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C.

    Args:
        store: The store.
        tokens: The tokens that are accepted.
        options: Where and how.
        ready: Called with the URL once requests are served.

    Raises:
        UsageError: The address is in use.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    application = Application(store, tokens=tokens, hosts=(options.host, *options.hosts), limits=options.limits)
    listening = _listening(options)
    host, port = listening.getsockname()[:2]
    scheme = "http" if options.certificate is None else "https"
    config = uvicorn.Config(
        application,
        http=bounded_protocol(options.limits.connections, options.limits.head_seconds),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
        backlog=1024,
        ssl_certfile=options.certificate,
        ssl_keyfile=options.key,
    )
    shown = f"[{host}]" if ":" in host else host
    server = _Server(config, application, lambda: ready(f"{scheme}://{shown}:{port}"))
    server.run(sockets=[listening])


def _listening(options: ServerOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((options.host, options.port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise UsageError(f"{options.host}:{options.port}: can't be listened on: {error.strerror or error}") from error
    listening.set_inheritable(True)
    return listening
