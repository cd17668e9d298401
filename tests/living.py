"""Runs commands while a test observes them. Tests wait for facts with a deadline, and no process outlives its test."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import IO, Any

import psutil
from commands import ENVIRONMENT, warm_interpreter
from warm import WarmCommand

from broodline.cli import main
from broodline.workers.liveness import dead_sessions

SECONDS = 60.0

# Trials from number FREE on train until a file `go` exists. The program logs the attempts that it starts and ends.
PATIENT = """\
set -eu
echo "$BROODLINE_TRIAL $BROODLINE_ATTEMPT $$" >> begun
if [ "$BROODLINE_TRIAL" -ge "${FREE:-0}" ]; then while [ ! -e go ]; do sleep 0.02; done; fi
weights=0
if [ -n "${BROODLINE_RESTORE:-}" ]; then weights=$(cat "$BROODLINE_RESTORE/weights"); fi
weights=$((weights + BROODLINE_STEPS))
echo "$weights" > "$BROODLINE_SAVE/weights"
echo "{\\"accuracy\\": $weights}" >> "$BROODLINE_METRICS"
echo "$BROODLINE_TRIAL $BROODLINE_ATTEMPT" >> ended
"""
STUDY = """\
name = "digits"
trial_steps = 10
population = {population}
workers = {workers}
[objective]
accuracy = "maximize"
[budget]
{budget}
[space]
lr = {{ float = [1e-4, 1.0], log = true }}
[train]
command = {command}
grace = 5
"""


def write_study(
    directory: Path,
    *,
    trainer: str = PATIENT,
    command: tuple[str, ...] = ("sh", "train.sh"),
    population: int = 2,
    workers: int = 1,
    budget: str = "trials = 6",
    more: str = "",
) -> Path:
    """Writes a study file and its training script; `more` extends the [train] table at the end of the file."""
    (directory / "train.sh").write_text(trainer)
    path = directory / "study.toml"
    path.write_text(STUDY.format(population=population, workers=workers, budget=budget, command=json.dumps(list(command))) + more)
    return path


@contextmanager
def repeatedly(look: Callable[[], object], pause: Callable[[], float]) -> Iterator[None]:
    """Looks again and again in a thread while the block runs, with pauses of so many seconds."""
    over = threading.Event()

    def looks() -> None:
        while not over.wait(pause()):
            look()

    thread = threading.Thread(target=looks)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def wait_for(fact: Callable[[], object], what: str = "the fact") -> None:
    """Waits until a fact is true; the assertion at the timeout names it."""
    until = time.monotonic() + SECONDS
    while not fact():
        assert time.monotonic() < until, f"{what}: timeout after {SECONDS:g} s"
        time.sleep(0.02)


def logged(directory: Path, name: str) -> list[list[str]]:
    """The words of each line in one of the training program's logs."""
    path = directory / name
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def begun(directory: Path) -> list[tuple[int, int]]:
    """The trials and attempts that the training program has started."""
    return [(int(line[0]), int(line[1])) for line in logged(directory, "begun") if len(line) == 3]


def ended(directory: Path) -> list[tuple[int, int]]:
    """The trials and attempts that the training program has finished."""
    return [(int(line[0]), int(line[1])) for line in logged(directory, "ended")]


def trials_of(study: object, *options: str) -> list[dict[str, Any]]:
    """The trials, as `broodline trials --json` prints them."""
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["trials", str(study), "--json", *options]) == 0
    return [json.loads(line) for line in printed.getvalue().splitlines()]


class Run:
    """A program in a new session, as a terminal starts it.

    Args:
        start: Starts the program, whose output goes into this file.
    """

    def __init__(self, start: Callable[[IO[bytes]], subprocess.Popen[bytes] | WarmCommand]) -> None:
        self._output = tempfile.NamedTemporaryFile()  # noqa: SIM115 # closed by `close`
        self.popen = start(self._output.file)
        self._process = psutil.Process(self.popen.pid)
        self._seen: set[psutil.Process] = set()

    @property
    def said(self) -> str:
        """The output so far."""
        descriptor = self._output.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()

    @property
    def workers(self) -> list[psutil.Process]:
        """The worker processes."""
        return self._process.children()

    def family(self) -> set[psutil.Process]:
        """The process tree, including processes that an earlier call saw."""
        with suppress(psutil.NoSuchProcess):
            self._seen |= {self._process, *self._process.children(recursive=True)}
        return self._seen

    def left_behind(self) -> list[psutil.Process]:
        """The processes of the tree that still run after its end."""
        return [process for process in self._seen if lives(process)]

    def end(self) -> int:
        """Waits for the end and returns the exit status."""
        return self.popen.wait(SECONDS)

    def kill(self) -> None:
        """Stops the process tree and then kills it, so that no process can react to the death of another."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in self.family():
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
        self.popen.wait(SECONDS)
        wait_for(lambda: not self.left_behind(), "the end of the killed processes")

    def close(self) -> None:
        """Kills the process tree if it still runs."""
        if self.popen.poll() is None:
            self.kill()
        self._output.close()


def lives(process: psutil.Process) -> bool:
    """True if a process has not ended; a zombie has."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def running(*arguments: object, cwd: Path, **environ: str) -> AbstractContextManager[Run]:
    """Runs a broodline command at most as long as the block: a fork of a process with its imports, `warm` explains it."""
    assert not [name for name in environ if name.startswith("PYTHON")], "only a new interpreter reads them"

    def start(output: IO[bytes]) -> WarmCommand:
        words, files = [str(argument) for argument in arguments], (output.name, output.name)
        return warm_interpreter.start(words, cwd=cwd, environment=ENVIRONMENT | environ, output=files, new_session=True)

    return _running(start)


def script(*arguments: object, cwd: Path, **environ: str) -> AbstractContextManager[Run]:
    """Runs another Python program at most as long as the block."""

    def start(output: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            env=ENVIRONMENT | environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    return _running(start)


@contextmanager
def _running(start: Callable[[IO[bytes]], subprocess.Popen[bytes] | WarmCommand]) -> Iterator[Run]:
    run = Run(start)
    try:
        yield run
    finally:
        run.close()


def collect_dead_sessions(directory: Path) -> list[str]:
    """Removes the files of workers that have died, and returns their sessions, or some of them."""
    with dead_sessions(directory) as dead:
        return dead


def interrupted(run: Run, number: signal.Signals) -> int:
    """Interrupts a run and returns its exit status: SIGINT goes to its process group, as Ctrl-C does; SIGTERM to it alone."""
    run.family()
    if number == signal.SIGINT:
        os.killpg(run.popen.pid, number)
    else:
        run.popen.send_signal(number)
    return run.end()
