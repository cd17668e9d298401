"""Commands that live while a test looks at them: facts are waited for, with a deadline, and nothing outlives its test."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import psutil
from commands import ENVIRONMENT

from broodline.cli import main

SECONDS = 60.0

# Trials from number FREE on train until there is a file `go`. What has begun and ended is known from the program's own logs.
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
    """A study file, and the shell script that it trains with; `more` is added to [train] and what follows."""
    (directory / "train.sh").write_text(trainer)
    path = directory / "study.toml"
    path.write_text(STUDY.format(population=population, workers=workers, budget=budget, command=json.dumps(list(command))) + more)
    return path


def wait_for(fact: Callable[[], object], what: str = "it") -> None:
    """Waits until a fact is true."""
    until = time.monotonic() + SECONDS
    while not fact():
        assert time.monotonic() < until, f"{what} did not come true in {SECONDS:g} s"
        time.sleep(0.02)


def logged(directory: Path, name: str) -> list[list[str]]:
    """The words of each line that the trainer has written to one of its logs."""
    path = directory / name
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def begun(directory: Path) -> list[tuple[int, int]]:
    """The trials and attempts that the trainer has begun."""
    return [(int(line[0]), int(line[1])) for line in logged(directory, "begun") if len(line) == 3]


def ended(directory: Path) -> list[tuple[int, int]]:
    """The trials and attempts that the trainer has trained to their end."""
    return [(int(line[0]), int(line[1])) for line in logged(directory, "ended")]


def trials_of(study: object, *options: str) -> list[dict[str, Any]]:
    """What `broodline trials --json` prints."""
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["trials", str(study), "--json", *options]) == 0
    return [json.loads(line) for line in printed.getvalue().splitlines()]


class Run:
    """A command that was started in a session of its own, as from a terminal."""

    def __init__(self, *arguments: object, cwd: Path, environ: dict[str, str]) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 # closed by `close`
        self.popen = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            env=ENVIRONMENT | environ,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._process = psutil.Process(self.popen.pid)
        self._seen: set[psutil.Process] = set()

    @property
    def said(self) -> str:
        """What it has printed so far."""
        descriptor = self._output.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()

    @property
    def workers(self) -> list[psutil.Process]:
        """Its worker processes."""
        return self._process.children()

    def family(self) -> set[psutil.Process]:
        """It and all processes below it; those that were seen earlier too."""
        with suppress(psutil.NoSuchProcess):
            self._seen |= {self._process, *self._process.children(recursive=True)}
        return self._seen

    def left_behind(self) -> list[psutil.Process]:
        """Who of the family lives although it has ended."""
        return [process for process in self._seen if lives(process)]

    def end(self) -> int:
        """Waits for its end, and returns its exit status."""
        return self.popen.wait(SECONDS)

    def kill(self) -> None:
        """Kills it and everything below it, at once: nobody has time to say goodbye."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in self.family():
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
        self.popen.wait(SECONDS)
        wait_for(lambda: not self.left_behind(), "their end")

    def close(self) -> None:
        """Leaves nothing of it."""
        if self.popen.poll() is None:
            self.kill()
        self._output.close()


def lives(process: psutil.Process) -> bool:
    """Whether a process has not ended; one that nobody has reaped has."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


@contextmanager
def running(*arguments: object, cwd: Path, **environ: str) -> Iterator[Run]:
    """A broodline command that runs while the block does; at most as long."""
    with script("-m", "broodline", *arguments, cwd=cwd, **environ) as run:
        yield run


@contextmanager
def script(*arguments: object, cwd: Path, **environ: str) -> Iterator[Run]:
    """The same for another Python program."""
    run = Run(*arguments, cwd=cwd, environ=environ)
    try:
        yield run
    finally:
        run.close()


def interrupted(run: Run, number: signal.Signals) -> int:
    """Interrupts a run as a terminal (Ctrl-C: all of its foreground group) or a service (SIGTERM) does; its exit status."""
    run.family()
    if number == signal.SIGINT:
        os.killpg(run.popen.pid, number)
    else:
        run.popen.send_signal(number)
    return run.end()
