"""A TCP proxy between a worker and a service: it delays, cuts and half-closes connections."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_CHUNK = 1 << 16


@dataclass
class Proxy:
    """A proxy in a thread of its own.

    Args:
        to: The port of the service; it may change.
        seed: Of the faults.
        rate: The probability of a fault, for each chunk that passes in either direction.
        delay: The longest delay in seconds.
    """

    to: int
    seed: int = 0
    rate: float = 0.0
    delay: float = 0.05
    port: int = field(init=False)
    faults: Counter[str] = field(default_factory=Counter, init=False)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, back}
        try:
            await asyncio.gather(self._pump(reader, back, writer), self._pump(there, writer, back))
        finally:
            for each in (writer, back):
                each.close()
                self._writers.discard(each)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, other: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                fault = self._fault()
                if fault == "delay":
                    await asyncio.sleep(self._random.uniform(0, self.delay))
                elif fault == "cut":  # of both directions, in the middle of what is sent
                    writer.write(chunk[: len(chunk) // 2])
                    await writer.drain()
                    writer.transport.abort()
                    other.transport.abort()
                    return
                elif fault == "half-close":  # what comes is lost, and the other direction stays open for a while
                    writer.write_eof()
                    await asyncio.sleep(self._random.uniform(0, self.delay))
                    other.transport.abort()
                    return
                writer.write(chunk)
                await writer.drain()
            writer.write_eof()

    def _fault(self) -> str | None:
        if self._random.random() >= self.rate:
            return None
        fault = self._random.choice(("delay", "cut", "half-close"))
        self.faults[fault] += 1
        return fault


@contextmanager
def proxied(proxy: Proxy) -> Iterator[Proxy]:
    """Runs a proxy until the context ends."""
    loop, ready = asyncio.new_event_loop(), threading.Event()

    async def main() -> None:
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            with suppress(asyncio.CancelledError):
                await server.serve_forever()

    def run() -> None:
        task = loop.create_task(main())
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        for each in asyncio.all_tasks(loop):
            each.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield proxy
    finally:

        def stop() -> None:
            for task in asyncio.all_tasks(loop):
                task.cancel()

        loop.call_soon_threadsafe(stop)
        thread.join(30)
