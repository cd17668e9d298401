"""A real PostgreSQL for tests: a server of their own, with a private port and data directory, on a machine that has one."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

_NUMBERS = count()


@dataclass(kw_only=True)
class Server:
    """A PostgreSQL server.

    Args:
        programs: The directory of its programs.
        home: The directory of its data, its socket and its log.
        port: Its port on 127.0.0.1.
    """

    programs: Path
    home: Path
    port: int

    @property
    def data(self) -> Path:
        return self.home / "data"

    def url(self, database: str = "postgres", *, schema: str = "public", user: str = "postgres", port: int = 0) -> str:
        """The URL of a database, on another port if a proxy listens there."""
        options = quote(f"-csearch_path={schema}")
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}?options={options}"

    def new_schema(self) -> str:
        """The URL of a new, empty schema."""
        name = f"test_{next(_NUMBERS)}"
        self.execute(f"CREATE SCHEMA {name}")
        return self.url(schema=name)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Executes a statement as the superuser."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        # Only a power failure needs a flush; what a killed server wrote stays with the kernel.
        options = f"-p {self.port} -c fsync=off -c listen_addresses=127.0.0.1 -k {self.home}"
        self._run("pg_ctl", "-D", self.data, "-l", self.home / "log", "-w", "-t", "300", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stops the server; `immediate` is what a power failure leaves, but for files that were not flushed."""
        self._run("pg_ctl", "-D", self.data, "-w", "-t", "300", "-m", mode, "stop")

    def restart(self, mode: str = "immediate") -> None:
        self.stop(mode)
        self.start()

    def make(self) -> None:
        """Makes the data directory and starts the server."""
        self._run("initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync")
        self.start()

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self.programs / program), *map(str, arguments)]
        user = "postgres" if os.geteuid() == 0 else None
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.home, user=user, group=user, check=False)
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr}{self._log}")

    @property
    def _log(self) -> str:
        path = self.home / "log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""


def programs() -> Path | None:
    """The directory of the newest server's programs; None if there is none that this user can run."""
    if os.geteuid() == 0 and not _has_user("postgres"):
        return None
    on_path = shutil.which("initdb")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parents[1].name))
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


def started_server() -> Server:
    """A new server, or the test is skipped where none can be had."""
    found = programs()
    if found is None:
        pytest.skip("no PostgreSQL server is installed here (Debian: apt-get install postgresql)")
    home = Path(tempfile.mkdtemp(prefix="broodline-postgres-", dir="/tmp"))
    home.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(home, "postgres", "postgres")
    server = Server(programs=found, home=home, port=_free_port())
    server.make()
    return server


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
