"""A process with broodline's modules imported, which runs each command of the command line in a fork of itself.

A command that runs this way is a process like any other, with its own environment, working directory, session, output, children
and exit status; only the imports are not repeated, which take most of the time of a short command. Its workers are started as
always. Tests whose subject is the start of a process run the real program: `commands.call_cold`, `living.script`.

As a program it reads orders from standard input, one line of JSON each. It answers each with the process number of the command,
and later with the exit status.
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
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

SKIPPED = ("broodline.integrations", "broodline.testing", "broodline.simulation", "broodline.adapters")


@dataclass
class WarmInterpreter:
    """The side of the tests; the process starts with the first command.

    Args:
        environment: Of the process; a command has its own.
    """

    environment: Mapping[str, str]
    _process: subprocess.Popen[str] | None = field(default=None, init=False)
    _statuses: dict[int, int] = field(default_factory=dict, init=False)  # of commands that have ended, by process number
    _unread: bytes = field(default=b"", init=False)
    _begun: list[int] = field(default_factory=list, init=False)  # the command that was ordered last, as soon as it runs

    def run(
        self, arguments: list[str], *, cwd: Path | None, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Runs `broodline ARGUMENTS` to its end.

        Raises:
            subprocess.TimeoutExpired: It did not end in time; it is killed.
        """
        with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
            command = self.start(arguments, cwd=cwd, environment=environment, output=(out.name, err.name))
            try:
                status = command.wait(timeout)
            except subprocess.TimeoutExpired:
                command.kill()
                command.wait(timeout)
                raise subprocess.TimeoutExpired(arguments, timeout, out.read(), err.read()) from None
            return subprocess.CompletedProcess(["broodline", *arguments], status, out.read(), err.read())

    def start(
        self,
        arguments: list[str],
        *,
        cwd: Path | None,
        environment: Mapping[str, str],
        output: tuple[str, str],
        new_session: bool = False,
    ) -> WarmCommand:
        """Starts `broodline ARGUMENTS`.

        Args:
            arguments: Of the command.
            cwd: Its working directory.
            environment: All of its environment.
            output: The files for its standard output and standard error.
            new_session: It leads a session of its own.
        """
        process = self._started()
        order = {
            "arguments": arguments,
            "cwd": str(cwd or Path.cwd()),
            "environment": dict(environment),
            "output": output,
            "new_session": new_session,
        }
        assert process.stdin
        print(json.dumps(order), file=process.stdin, flush=True)
        while not self._begun:
            self._listen(None)
        return WarmCommand(self, self._begun.pop())

    def status_of(self, pid: int, timeout: float) -> int | None:
        """The exit status of a command, as soon as it has ended; None after the timeout."""
        until = time.monotonic() + timeout
        while pid not in self._statuses and self._listen(max(0.0, until - time.monotonic())):
            pass
        return self._statuses.get(pid)

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            assert self._process.stdin
            self._process.stdin.close()
            self._process.wait()
            assert self._process.stdout
            self._process.stdout.close()
            self._process = None

    def _listen(self, timeout: float | None) -> bool:
        """Takes the next answers; False after the timeout."""
        assert self._process
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            return False
        data = os.read(self._process.stdout.fileno(), 1 << 16)
        assert data, "the process that runs commands has died"
        *answers, self._unread = (self._unread + data).split(b"\n")
        for answer in map(json.loads, answers):
            if "status" in answer:
                self._statuses[answer["pid"]] = answer["status"]
            else:
                self._statuses.pop(answer["pid"], None)  # the number is used again
                self._begun.append(answer["pid"])
        return True

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


@dataclass(frozen=True)
class WarmCommand:
    """A command that was started: what tests use of `subprocess.Popen`.

    Args:
        interpreter: Runs it.
        pid: Its process number.
    """

    interpreter: WarmInterpreter
    pid: int

    @property
    def returncode(self) -> int | None:
        """The exit status, if it has ended."""
        return self.poll()

    def poll(self) -> int | None:
        """The exit status, if it has ended."""
        return self.interpreter.status_of(self.pid, 0.0)

    def wait(self, timeout: float = 60.0) -> int:
        """Waits for its end and returns the exit status.

        Raises:
            subprocess.TimeoutExpired: It did not end in time.
        """
        status = self.interpreter.status_of(self.pid, timeout)
        if status is None:
            raise subprocess.TimeoutExpired(["broodline"], timeout)
        return status

    def send_signal(self, number: int) -> None:
        """Sends it a signal, if it has not ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it."""
        self.send_signal(signal.SIGKILL)


# The side of the process


def import_all() -> None:
    """Imports what commands import when they are used."""
    import broodline

    importlib.import_module("sqlalchemy.dialects.sqlite")
    for module in pkgutil.walk_packages(broodline.__path__, "broodline."):
        if not module.name.startswith(SKIPPED) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def become(arguments: list[str], cwd: str, environment: Mapping[str, str], output: list[str], new_session: bool) -> None:
    """Makes this process, a fork, the command."""
    if new_session:
        os.setsid()
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


def answer(**facts: int) -> None:
    """Answers the tests by a line of JSON."""
    os.write(1, json.dumps(facts).encode() + b"\n")


def report_ends() -> None:
    """Answers with the exit status of each command that has ended."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            answer(pid=ended[0], status=os.waitstatus_to_exitcode(ended[1]))


def orders() -> Iterator[dict[str, Any]]:
    """The orders that arrive on standard input; reports, meanwhile, the commands that end."""
    ends, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    unread = b""
    while True:
        ready, _, _ = select.select([0, ends], [], [])
        if ends in ready:
            os.read(ends, 1 << 16)
            report_ends()
        if 0 in ready:
            if not (data := os.read(0, 1 << 16)):
                return
            *lines, unread = (unread + data).split(b"\n")
            yield from map(json.loads, lines)


def serve() -> None:
    """Runs each command that is ordered."""
    import_all()
    gc.freeze()
    signals = signal.getsignal(signal.SIGCHLD)
    for order in orders():
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signals)
            os.close(signal.set_wakeup_fd(-1))
            become(**order)
            return
        answer(pid=pid)


if __name__ == "__main__":
    serve()
