"""Kills, stops, fills and locks while the soak runs, and counts the phases that each kill hit."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from soak.phase_log import BETWEEN, CLEANER, CLEANING, NEWCOMER, PHASES, Marks
from soak.stage import LEASE, Stage, came_true, full, parent_of, state_of, wait_for

from broodline.storage.sqlite.connections import BUSY_SECONDS

OF_TRAINER = ("restoring", "training", "saving")
PATIENCE = 3.0  # seconds in which an armed worker must enter the phase; after that it is disarmed
LOCK = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
database.execute("COMMIT")
"""


@dataclass(kw_only=True)
class FaultInjector:
    """Injects faults; each returns when the study makes progress again.

    Args:
        stage: The study and its processes.
        rng: Draws the victims and the moments.
    """

    stage: Stage
    rng: random.Random
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)  # (victim, phase)
    faults: Counter[str] = field(default_factory=Counter)

    def hits(self, phase: str) -> int:
        """The number of workers and trainers killed in a phase."""
        return sum(count for (_, hit), count in self.kills.items() if hit == phase)

    def kill_a_worker(self) -> None:
        """Kills a worker in one of the three phases with the fewest kills."""
        phase = self.rng.choice(sorted(PHASES, key=self.hits)[:3])
        if phase in OF_TRAINER:
            self._kill_while_it_trains(phase)
        elif phase == "asking":
            self._kill_while_it_asks()
        elif workers := list(self.stage.workers().items()):
            pid, marks = self.rng.choice(workers)
            marks.arm(phase, self.rng.random())
            self._count_if_hit(pid, marks)

    def kill_a_worker_at_work(self) -> None:
        """Kills any worker, whatever it does."""
        if victim := self._found(lambda marks: True):
            self._kill_at_once("worker", [victim[0]])

    def kill_a_trainer(self) -> None:
        """Kills a training program; its worker survives."""
        if victim := self._found(lambda marks: marks.own == "training" and marks.of_trainer != BETWEEN):
            pid = victim[1].trainer
            self.stage.halt(pid)
            phase, lives = victim[1].of_trainer, self.stage.lives(pid)
            self.stage.send(signal.SIGKILL, pid)
            if lives and victim[1].trainer == pid:
                self.kills["trainer", phase] += 1

    def kill_the_run(self) -> None:
        """Kills only the run; its workers notice. The next run starts while they may still be leaving."""
        run = self._run()
        time.sleep(self.rng.uniform(0, 1.5))
        if run.poll() is None:
            run.kill()
            self.kills["run", "any"] += 1
        if run.wait() == -signal.SIGKILL:
            time.sleep(self.rng.choice((0, 0, self.rng.uniform(0, 1))))
            self.stage.start()

    def kill_a_clean_up(self) -> None:
        """Kills a worker, or all processes, and then the process that cleans up after the dead, while it does."""
        for earlier in self.stage.notes.glob(f"{CLEANER}-*"):
            earlier.unlink()
        run, awaited = self._run(), self.stage.notes / CLEANER
        awaited.touch()
        if self.rng.random() < 0.5:
            self._kill_at_once("everything", self.stage.processes())
            self.stage.kill_everything()
            self.stage.start()
        elif victim := self._found(lambda marks: marks.own == "training"):
            self._kill_at_once("worker", [victim[0]])
        if came_true(lambda: not awaited.exists(), seconds=4 * PATIENCE):
            (taken,) = self.stage.notes.glob(f"{CLEANER}-*")
            pid = int(taken.name.split("-")[1])
            wait_for(lambda: state_of(pid) in "ZX", "the end of a clean-up whose timer runs")
            done = self.stage.notes / f"{CLEANER}-{pid}-done"
            self.kills["run" if pid in (run.pid, self._run().pid) else "watcher", BETWEEN if done.exists() else CLEANING] += 1
        awaited.unlink(missing_ok=True)

    def kill_a_joined_worker(self) -> None:
        """Kills a worker that joined and the process that watches it, but not the training program below them."""
        if not self.stage.joined:
            return
        joined = self.stage.joined.pop(0)
        workers, descendants = self.stage.workers(), self.stage.below(joined.pid)
        victims = [pid for pid in descendants if pid == joined.pid or pid in workers]
        self._kill_at_once("joined worker", victims)
        joined.wait()
        self.stage.join()

    def kill_everything(self) -> None:
        """Kills all processes of the soak at one moment."""
        time.sleep(self.rng.uniform(0, 1.0))
        if self._run().poll() is None:
            self._kill_at_once("everything", self.stage.processes())
            self.stage.kill_everything()

    def pause_a_worker(self) -> None:
        """Stops a joined worker and its process tree for longer than its lease; another worker takes its trial."""
        if self.stage.joined and (pids := self.stage.below(self.stage.joined[0].pid)):
            self._pause(pids)

    def pause_a_trainer(self) -> None:
        """Stops a training program; its worker keeps renewing the lease."""
        if victim := self._found(lambda marks: marks.own == "training" and marks.of_trainer != BETWEEN):
            self._pause([victim[1].trainer])

    def pause_the_run(self) -> None:
        """Stops the process that renews the leases, and sometimes one of its workers."""
        run = self._run()
        own = [pid for pid in self.stage.workers() if pid in self.stage.below(run.pid)]
        self._pause([run.pid, *self.rng.sample(own, min(len(own), self.rng.randint(0, 1)))])

    def pause_everything(self) -> None:
        """Stops all processes of the soak, like a laptop that sleeps."""
        self._pause(self.stage.processes())

    def fill_the_disk(self) -> None:
        """Fills the disk and kills a worker and a trainer; the same run must resume when there is room."""
        run = self.run_at_work()
        warnings = self.stage.printed.count("is full")
        with full(self.stage.disk):
            wait_for(
                lambda: self.stage.printed.count("is full") > warnings or run.poll() is not None,
                "the warning",
            )
            self.kill_a_trainer()
            if victim := self._found(lambda marks: True):
                self.stage.send(signal.SIGKILL, victim[0])
                self.kills["worker", "disk full"] += 1
            time.sleep(self.rng.uniform(0.5, 2.0))
        self.assert_resumes(run, "the disk had room")
        self.faults["disk full"] += 1

    def lock_the_database(self, *, seconds: float = BUSY_SECONDS + 4) -> None:
        """Locks the database from another process for longer than SQLite's timeout, and kills a worker."""
        run = self.run_at_work()
        locker = subprocess.Popen([sys.executable, "-c", LOCK, self.stage.database, str(seconds)], stdout=subprocess.PIPE)
        assert locker.stdout is not None
        assert locker.stdout.readline() == b"locked\n"
        if victim := self._found(lambda marks: True):
            self.stage.send(signal.SIGKILL, victim[0])
            self.kills["worker", "database locked"] += 1
        locker.communicate()
        self.assert_resumes(run, "the database was free")
        self.faults[f"database locked for {seconds:.0f} s"] += 1

    def _kill_while_it_asks(self) -> None:
        """Kills a worker, and its successor during its first ask: later asks are part of a completion."""
        for earlier in self.stage.notes.glob(f"{NEWCOMER}-*"):
            earlier.unlink()
        (awaited := self.stage.notes / NEWCOMER).touch()
        if victim := self._found(lambda marks: True):
            self._kill_at_once("worker", [victim[0]])
            if came_true(lambda: not awaited.exists(), seconds=4 * PATIENCE):
                (taken,) = self.stage.notes.glob(f"{NEWCOMER}-*")
                pid = int(taken.name.partition("-")[2])
                self._count_if_hit(pid, Marks(self.stage.notes / "phases" / str(pid)))
        awaited.unlink(missing_ok=True)

    def _count_if_hit(self, pid: int, marks: Marks) -> None:
        """Waits until the timer of an armed worker kills it; disarms a worker that does not enter its phase."""
        if not came_true(lambda: state_of(pid) in "ZX", seconds=PATIENCE, pause=0.005):
            if marks.disarm():
                return
            wait_for(lambda: state_of(pid) in "ZX", "the end of a worker whose timer runs")
        if marks.disarm():  # it ended for another reason before it entered the phase
            return
        # A late timer hits the next phase. The trainer kept running, so its phase at that moment is unknown.
        self.kills["worker", marks.phase if marks.own != "training" or marks.phase == "deleting" else BETWEEN] += 1

    def _kill_while_it_trains(self, phase: str) -> None:
        if victim := self._found(lambda marks: marks.phase == phase):
            time.sleep(self.rng.uniform(0, 0.005))
            self._kill_at_once("worker", [victim[0]])

    def _kill_at_once(self, victim: str, pids: list[int]) -> None:
        """Stops processes and then kills them, so that none acts between the first kill and the last."""
        workers = self.stage.workers()
        self.stage.halt(*pids)
        for pid in pids:
            if pid in workers and self.stage.lives(pid):
                self.kills[victim, workers[pid].phase] += 1
        self.stage.send(signal.SIGKILL, *pids)
        self.faults[f"{victim} killed"] += 1

    def _pause(self, pids: list[int]) -> None:
        self.stage.send(signal.SIGSTOP, *pids)
        time.sleep(LEASE * self.rng.uniform(1.2, 2.0))
        self.stage.send(signal.SIGCONT, *pids)
        self.faults["stopped for longer than a lease"] += 1

    def _found(self, condition: Callable[[Marks], bool]) -> tuple[int, Marks] | None:
        """A worker for which a condition holds within `PATIENCE` seconds; None without one."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            workers = list(self.stage.workers().items())
            self.rng.shuffle(workers)
            for _ in range(50):
                for pid, marks in workers:
                    if condition(marks) and self.stage.lives(pid):
                        return pid, marks
                time.sleep(0.001)
        return None

    def assert_resumes(self, run: subprocess.Popen[bytes], since: str) -> None:
        """Waits until the same run completes trials again or is done."""
        assert self.stage.completes(1), f"nothing was completed after {since}:\n{self.stage.printed[-3000:]}"
        if run.poll() not in (None, 0):
            raise AssertionError(f"after {since}, the run ended with status {run.poll()}:\n{self.stage.printed[-3000:]}")

    def _run(self) -> subprocess.Popen[bytes]:
        assert self.stage.run is not None
        return self.stage.run

    def run_at_work(self) -> subprocess.Popen[bytes]:
        """The run, once its first worker works; a run that starts during a fault may report an error and end."""
        run = self._run()
        wait_for(lambda: run.poll() is not None or run.pid in map(parent_of, self.stage.workers()), "the run's first worker")
        return run
