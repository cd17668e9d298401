"""Runs the command line as a user does: a process, its output and its exit status."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from warm import WarmInterpreter

import broodline

SOURCE = Path(broodline.__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])}

# A training program without Python: its weights are a number, and its metric is that number.
TRAINER = """\
set -eu
weights=0
if [ -n "${BROODLINE_RESTORE:-}" ]; then weights=$(cat "$BROODLINE_RESTORE/weights"); fi
weights=$((weights + BROODLINE_STEPS))
echo "$weights" > "$BROODLINE_SAVE/weights"
echo "{\\"accuracy\\": $weights}" >> "$BROODLINE_METRICS"
"""
STUDY = """\
name = "digits"
trial_steps = 10
population = 2
workers = 1
[objective]
accuracy = "maximize"
[budget]
trials = {trials}
[space]
lr = {{ float = [1e-4, 1.0], log = true }}
[train]
command = {command}
"""


def write_study(directory: Path, *, trials: int = 6, trainer: str = TRAINER, more: str = "") -> Path:
    """Writes a study file and its training script into a directory; returns the path of the study file."""
    (directory / "train.sh").write_text(trainer)
    path = directory / "study.toml"
    path.write_text(STUDY.format(trials=trials, command=json.dumps(["sh", "train.sh"])) + more)
    return path


warm_interpreter = WarmInterpreter(ENVIRONMENT)


def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end in a fork of a process whose imports are done."""
    return warm_interpreter.run([str(argument) for argument in arguments], cwd=cwd, environment=ENVIRONMENT, timeout=100)


def started(*arguments: object, cwd: Path | None = None) -> Started:
    """Starts a command as `call` does, and leaves it running."""
    return Started(*map(str, arguments), cwd=cwd)


class Started:
    """A command that runs; what tests use of `subprocess.Popen`."""

    def __init__(self, *arguments: str, cwd: Path | None) -> None:
        self._out, self._err = (tempfile.NamedTemporaryFile("r") for _ in range(2))  # noqa: SIM115 # closed by `communicate`
        files = (self._out.name, self._err.name)
        self._command = warm_interpreter.start(list(arguments), cwd=cwd, environment=ENVIRONMENT, output=files)
        self.pid, self.send_signal = self._command.pid, self._command.send_signal
        self.returncode: int | None = None

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Waits for its end; returns its standard output and standard error."""
        try:
            self.returncode = self._command.wait(timeout)
            return self._out.read(), self._err.read()
        finally:
            self._command.kill()
            self._out.close()
            self._err.close()


def call_cold(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end in a new process, as a shell does."""
    command = [sys.executable, "-m", "broodline", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=100, check=False)


def output(*arguments: object, cwd: Path | None = None) -> str:
    """The output of a command that must succeed."""
    done = call(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines_of_json(*arguments: object, cwd: Path | None = None) -> list[Any]:
    """The output of a command with `--json`, line by line."""
    return [json.loads(line) for line in output(*arguments, "--json", cwd=cwd).splitlines()]


def states_in(directory: Path, study: str = "digits") -> list[str]:
    """The states of a study's trials, by number, read from the database itself."""
    with closing(sqlite3.connect(directory / "broodline.db")) as database:
        query = "SELECT trials.state FROM trials JOIN studies ON studies.id = trials.study WHERE name = ? ORDER BY number"
        return [state for (state,) in database.execute(query, (study,))]
