"""Measures the cost of `kill -9`: kills all processes of a run at a random moment, five times, and resumes it.

4 workers, a population of 8, one program per trial, which trains for a quarter of a second::

    python -m benchmarks.restart [--runs 3] [--spare-programs] [--directory DIR]

The program's own log, which it flushes, is the evidence. Prints for each restart, and as one line of JSON at the end:

visible          completions that were readable before the kill
changed          those of them that differ afterwards (must be 0)
again            trials that started before the kill and again after it
completed_again  those of them that were recorded as completed at the kill (must be 0)
first_s          seconds from the start of the new process to the first line of the program
orphans          processes of the killed run that are alive after the first trial of the next run

With --spare-programs the training programs are not killed. The next run has to find and end them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import psutil

KILLS, WORKERS, POPULATION = 5, 4, 8
MARK = "BROODLINE_BENCHMARK"  # an environment variable that all processes of a study inherit
SECONDS = 120.0  # longer than any step takes, also on a slow machine
STUDY = """
name = "restart"
trial_steps = 1
population = {population}
workers = {workers}
[objective]
score = "maximize"
[space]
x = {{ float = [0.0, 1.0] }}
[train]
command = [{python}, "-E", "-S", "train.py"]
"""
TRAINER = """
import json, os, time

def log(what):
    with open("log", "a") as file:
        file.write(f"{what} {os.environ['BROODLINE_TRIAL']} {os.environ['BROODLINE_ATTEMPT']} {time.time()}\\n")
        file.flush()
        os.fsync(file.fileno())

log("begun")
time.sleep(0.25)
with open(os.environ["BROODLINE_SAVE"] + "/weights", "wb") as file:
    file.write(os.urandom(1024))
log("saved")
with open(os.environ["BROODLINE_PARAMS"]) as file:
    score = json.load(file)["x"]
with open(os.environ["BROODLINE_METRICS"], "a") as file:
    print(json.dumps({"score": score}), file=file)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The figures of one kill and the restart after it."""

    visible: int
    changed: int
    again: int
    completed_again: int
    first_s: float
    orphans: int


class Life:
    """One study that is killed and restarted."""

    def __init__(self, directory: Path, rng: random.Random, *, spare_programs: bool) -> None:
        self._directory, self._rng, self._spare = directory, rng, spare_programs
        (directory / "train.py").write_text(TRAINER, encoding="utf-8")
        study = STUDY.format(population=POPULATION, workers=WORKERS, python=json.dumps(sys.executable))
        (directory / "study.toml").write_text(study, encoding="utf-8")
        self._lives = 0
        self._begun = time.time()
        self._run = self._start()

    def killed_and_restarted(self) -> Restart:
        """Kills all processes at a random moment, restarts the run, and waits until it has completed trials."""
        finished = self._count("saved")
        self._wait(lambda: self._count("saved") >= finished + POPULATION)
        time.sleep(self._rng.uniform(0, 1.0))
        before = self._completed()
        self._kill()
        known, killed = len(self._log()), {number for what, number, *_ in self._log() if what == "begun"}
        completed = {record["number"] for record in self._completed()}
        self._begun = time.time()
        self._run = self._start()
        self._wait(lambda: any(what == "saved" and at > self._begun for what, _, _, at in self._log()[known:]))
        orphans = sum(life < self._lives for life in self._processes().values())
        finished = self._count("saved")
        self._wait(lambda: self._count("saved") >= finished + POPULATION)
        begun = [(number, at) for what, number, _, at in self._log()[known:] if what == "begun" and at >= self._begun]
        again = {number for number, _ in begun} & killed
        now = {record["number"]: record for record in self._completed()}
        return Restart(
            visible=len(before),
            changed=sum(_lasting(record) != _lasting(now.get(record["number"], {})) for record in before),
            again=len(again),
            completed_again=len(again & completed),
            first_s=min(at for _, at in begun) - self._begun,
            orphans=orphans,
        )

    def finish(self) -> None:
        """Ends the last run, and checks that the population is complete.

        Raises:
            SystemExit: It is not complete.
        """
        self._call("stop", "study.toml")
        status = self._run.wait(SECONDS)
        trials = self._records("trials", "study.toml", "--json")
        lines = {(trial["member"], trial["generation"]) for trial in trials}
        members = {member for member, _ in lines}
        done = all(trial["state"] == "completed" for trial in trials)
        if (status, len(members), len(lines), done) != (0, POPULATION, len(trials), True):
            raise SystemExit(f"the study ended with status {status}, {len(members)} members; all completed: {done}")

    def close(self) -> None:
        """Kills all remaining processes."""
        _signal(self._processes(), signal.SIGKILL)
        self._run.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "broodline", "run", "study.toml", "--json"]
        self._lives += 1
        environ = os.environ | {MARK: f"{self._directory}#{self._lives}"}
        return subprocess.Popen(command, cwd=self._directory, env=environ, stdout=subprocess.DEVNULL, start_new_session=True)

    def _kill(self) -> None:
        """Kills all processes of the run at once: it first stops them, until none is left that could start another."""
        stopped = set[psutil.Process]()
        while new := set(self._processes()) - stopped:
            _signal(new, signal.SIGSTOP)
            stopped |= new
        spared = {process for process in stopped if self._spare and self._is_program(process)}
        _signal(stopped - spared, signal.SIGKILL)
        self._run.wait()
        _signal(spared, signal.SIGCONT)

    def _processes(self) -> dict[psutil.Process, int]:
        """The processes of the study that are alive, by their mark, and the number of the run that started each."""
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                mark, _, life = process.environ().get(MARK, "").rpartition("#")
                if mark == str(self._directory) and process.status() != psutil.STATUS_ZOMBIE:
                    found[process] = int(life)
        return found

    @staticmethod
    def _is_program(process: psutil.Process) -> bool:
        try:
            return "train.py" in process.cmdline()
        except psutil.Error:
            return False

    def _completed(self) -> list[dict[str, object]]:
        return self._records("trials", "study.toml", "--json", "--state", "completed")

    def _records(self, *arguments: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._call(*arguments).splitlines()]

    def _call(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "broodline", *arguments]
        return subprocess.run(command, cwd=self._directory, capture_output=True, text=True, check=True).stdout

    def _log(self) -> list[tuple[str, int, int, float]]:
        try:
            lines = (self._directory / "log").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        words = [line.split() for line in lines]
        return [(what, int(number), int(attempt), float(at)) for what, number, attempt, at in words]

    def _count(self, what: str) -> int:
        return len({number for said, number, *_ in self._log() if said == what})

    def _wait(self, fact: Callable[[], bool]) -> None:
        until = time.monotonic() + SECONDS
        while not fact():
            if time.monotonic() > until or self._run.poll() not in (None, 0):
                raise SystemExit(f"the run makes no progress (status {self._run.poll()})")
            time.sleep(0.01)


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _lasting(record: dict[str, object]) -> dict[str, object]:
    """The fields of a completed trial that never change; its checkpoint may be deleted later."""
    return {name: value for name, value in record.items() if name != "checkpoint"}


def measured(directory: Path, rng: random.Random, *, spare_programs: bool) -> Iterator[Restart]:
    """Kills and restarts one study, and ends it."""
    life = Life(directory, rng, spare_programs=spare_programs)
    try:
        for _ in range(KILLS):
            yield life.killed_and_restarted()
        life.finish()
    finally:
        life.close()


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spare-programs", action="store_true", help="do not kill the training programs")
    parser.add_argument("--directory", type=Path, help="directory of the stores (default: a temporary one)")
    options = parser.parse_args()
    rng, restarts = random.Random(options.seed), list[Restart]()
    print("  ".join(f"{name:>15}" for name in Restart.__slots__))
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            for restart in measured(Path(directory), rng, spare_programs=options.spare_programs):
                print(
                    "  ".join(
                        f"{value:15.2f}" if isinstance(value, float) else f"{value:15d}" for value in asdict(restart).values()
                    )
                )
                restarts.append(restart)
    figures = {
        name: {"min": min(values), "median": median(values), "max": max(values)}
        for name in Restart.__slots__
        if (values := [round(getattr(restart, name), 3) for restart in restarts])
    }
    print(json.dumps({"runs": options.runs, "kills": len(restarts), "cores": os.cpu_count(), **figures}))
    if any(restart.changed or restart.completed_again or restart.orphans for restart in restarts):
        raise SystemExit("a completion changed, a completed trial was retrained, or an orphaned process is alive")


if __name__ == "__main__":
    main()
