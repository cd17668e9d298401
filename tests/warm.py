"""A process with broodline's modules imported, which runs each command of the command line in a fork of itself.

A command that runs this way is a process like any other, with its own environment, working directory, output and exit status;
only the imports are not repeated, which take most of the time of a short command. Tests whose subject is the start of a process,
its signals or its descendants start the real program: `commands.started` and `living`.

As a program it reads orders from standard input, one line of JSON each, and answers with the exit status of the command.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NoReturn

SKIPPED = ("broodline.integrations", "broodline.testing", "broodline.simulation", "broodline.adapters")


@dataclass
class WarmInterpreter:
    """The side of the tests; the process starts with the first command.

    Args:
        environment: Of the process; a command has its own.
    """

    environment: Mapping[str, str]
    _process: subprocess.Popen[str] | None = field(default=None, init=False)

    def run(
        self, arguments: list[str], *, cwd: Path | None, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Runs `broodline ARGUMENTS` to its end.

        Raises:
            subprocess.TimeoutExpired: It did not end in time; it is killed.
        """
        process = self._started()
        assert process.stdin
        assert process.stdout
        with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
            order = {
                "arguments": arguments,
                "cwd": str(cwd or Path.cwd()),
                "environment": dict(environment),
                "output": [out.name, err.name],
            }
            print(json.dumps(order), file=process.stdin, flush=True)
            pid = int(process.stdout.readline())
            if not select.select([process.stdout], [], [], timeout)[0]:
                os.kill(pid, 9)
                process.stdout.readline()
                raise subprocess.TimeoutExpired(arguments, timeout, out.read(), err.read())
            status = int(process.stdout.readline())
            return subprocess.CompletedProcess(["broodline", *arguments], status, out.read(), err.read())

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            assert self._process.stdin
            self._process.stdin.close()
            self._process.wait()
            assert self._process.stdout
            self._process.stdout.close()
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                env=dict(self.environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self._process


# The side of the process


def import_all() -> None:
    """Imports what commands import when they are used."""
    import broodline

    importlib.import_module("sqlalchemy.dialects.sqlite")
    for module in pkgutil.walk_packages(broodline.__path__, "broodline."):
        if not module.name.startswith(SKIPPED) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def become(arguments: list[str], cwd: str, environment: Mapping[str, str], output: list[str]) -> None:
    """Makes this process, a fork, the command."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # it depends on the environment
    names = (os.devnull, *output)
    for descriptor, name in enumerate(names):
        opened = os.open(name, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.path[0] = cwd  # as `python -m` does
    sys.argv = ["broodline", *arguments]
    try:
        runpy.run_module("broodline", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        leave(int(ended.code or 0))


def leave(status: int) -> NoReturn:
    """Ends this process as the interpreter does, but does not take its modules apart, which outlasts most commands."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def serve(orders: IO[str]) -> None:
    """Runs each command that is ordered."""
    import_all()
    gc.freeze()
    while line := orders.readline():
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            become(**order)
            return
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve(sys.stdin)
