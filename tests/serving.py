"""A real service in a process of its own, for tests. Run as a program it serves a database by a clock that the test advances."""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broodline.service.http_client import HttpClient, Requests
from broodline.testing import FakeClock

BROODLINE = Path(sys.executable).with_name("broodline")
TOKENS = {role: f"{role}-{'0123456789abcdef' * 2}" for role in ("reader", "worker", "admin")}


class SharedClock(FakeClock):
    """A clock that another process can read: its time is in a file."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(struct.pack("d", FakeClock().now))
        self.path = path
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 8)

    @property
    def now(self) -> float:
        return float(struct.unpack("d", self._shared[:8])[0])

    @now.setter
    def now(self, seconds: float) -> None:
        self._shared[:8] = struct.pack("d", seconds)


@dataclass(kw_only=True)
class Service:
    """A service that runs.

    Args:
        url: Its URL.
        process: Its process.
        tokens: The file of its tokens.
        errors: The file of its standard error.
    """

    url: str
    process: subprocess.Popen[str]
    tokens: Path
    errors: Path

    def requests(self, role: str = "admin", **options: Any) -> Requests:
        return Requests(self.url, token=TOKENS[role], **options)

    def client(self, role: str = "admin", **options: Any) -> HttpClient:
        return HttpClient(self.requests(role, **options))

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def kill(self, number: int = signal.SIGKILL) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def write_tokens(directory: Path) -> Path:
    path = directory / "broodline.tokens"
    path.touch(mode=0o600)
    path.write_text("".join(f"{role} {token}\n" for role, token in TOKENS.items()))
    return path


@contextmanager
def serving(directory: Path, *arguments: str, store: str | None = None, command: list[str] | None = None) -> Iterator[Service]:
    """Serves the database of a directory until the context ends.

    Args:
        directory: Holds the database, the tokens and the output.
        arguments: Further arguments of `broodline serve`.
        store: The store's URL; None: the database in the directory.
        command: Another program than `broodline serve`.
    """
    tokens, errors = write_tokens(directory), directory / "service.errors"
    url = store or f"sqlite:///{directory / 'broodline.db'}"
    given = command or [str(BROODLINE), "serve", "--store", url, "--port", "0", "--tokens", str(tokens), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with errors.open("a") as file:
        process = subprocess.Popen(given, stdout=subprocess.PIPE, stderr=file, text=True, env=environment)
    assert process.stdout
    try:
        line = process.stdout.readline()
        assert " at http" in line, line + errors.read_text()
        yield Service(url=line.split()[-1], process=process, tokens=tokens, errors=errors)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def serving_by_clock(directory: Path, clock: SharedClock, **limits: float) -> Iterator[Service]:
    """Serves the database of a directory, by a clock that the test advances, with these limits."""
    command = [sys.executable, __file__, str(directory), str(clock.path), json.dumps(limits)]
    with serving(directory, command=command) as service:
        yield service


def main() -> None:
    from broodline.service.auth import read_tokens
    from broodline.service.guard import Limits
    from broodline.service.server import ServerOptions, serve
    from broodline.storage.sqlite.store import SqliteStore

    directory, clock = map(Path, sys.argv[1:3])
    options = ServerOptions(port=0, limits=Limits(**json.loads(sys.argv[3])))
    with clock.open("rb") as file:
        shared = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    store = SqliteStore(directory / "broodline.db", clock=lambda: float(struct.unpack("d", shared[:8])[0]))
    tokens = read_tokens(directory / "broodline.tokens")
    serve(store, tokens=tokens, options=options, ready=lambda url: print(f"serving at {url}", flush=True))


if __name__ == "__main__":
    main()
