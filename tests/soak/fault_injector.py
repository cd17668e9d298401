"""Who breaks things, and counts what it hit."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from soak.phase_log import BETWEEN, NEWCOMER, PHASES, Marks
from soak.stage import LEASE, Stage, came_true, full, parent_of, state_of, wait_for

from broodline.storage.sqlite.connections import BUSY_SECONDS

OF_TRAINER = ("restoring", "training", "saving")
PATIENCE = 3.0  # seconds in which a worker that is aimed at comes to a phase, or is let go
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
    """Kills, stops, fills and locks; every deed returns with the study going on again.

    Args:
        stage: What it plays on.
        rng: Draws whom and when.
    """

    stage: Stage
    rng: random.Random
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)  # (whom, in which phase)
    deeds: Counter[str] = field(default_factory=Counter)

    def hits(self, phase: str) -> int:
        """How many workers or trainers were killed in a phase."""
        return sum(count for (_, hit), count in self.kills.items() if hit == phase)

    def kill_a_worker(self) -> None:
        """Kills a worker in one of the phases that were hit least."""
        phase = self.rng.choice(sorted(PHASES, key=self.hits)[:3])
        if phase in OF_TRAINER:
            self._kill_while_it_trains(phase)
        elif phase == "asking":
            self._kill_while_it_asks()
        elif workers := list(self.stage.workers().items()):
            pid, marks = self.rng.choice(workers)
            marks.aim(phase, self.rng.random())
            self._count_if_hit(pid, marks)

    def kill_a_trainer(self) -> None:
        """Kills a program that trains; its worker lives."""
        if victim := self._found(lambda marks: marks.own == "training" and marks.of_trainer != BETWEEN):
            pid = victim[1].trainer
            self.stage.halt(pid)
            phase, lives = victim[1].of_trainer, self.stage.lives(pid)
            self.stage.send(signal.SIGKILL, pid)
            if lives and victim[1].trainer == pid:
                self.kills["trainer", phase] += 1

    def kill_the_run(self) -> None:
        """Kills the run alone: its workers find out by themselves. The next one begins while they may still be leaving."""
        run = self._run()
        time.sleep(self.rng.uniform(0, 1.5))
        if run.poll() is None:
            run.kill()
            self.kills["run", "any"] += 1
        if run.wait() == -signal.SIGKILL:
            time.sleep(self.rng.choice((0, 0, self.rng.uniform(0, 1))))
            self.stage.start()

    def kill_a_joined_worker(self) -> None:
        """Kills a worker that joined, and the process that watches it, but not the program that it had started."""
        joined = self.stage.joined.pop(0)
        workers, family = self.stage.workers(), self.stage.below(joined.pid)
        victims = [pid for pid in family if pid == joined.pid or pid in workers]
        self._kill_at_once("joined worker", victims)
        joined.wait()
        self.stage.join()

    def kill_everything(self) -> None:
        """Kills all there is, at one moment."""
        time.sleep(self.rng.uniform(0, 1.0))
        if self._run().poll() is None:
            self._kill_at_once("everything", self.stage.family())
            self.stage.kill_everything()

    def pause_a_worker(self) -> None:
        """Stops a worker that joined for longer than its lease, with all around it: others take what it held."""
        if pids := self.stage.below(self.stage.joined[0].pid):
            self._pause(pids)

    def pause_a_trainer(self) -> None:
        """Stops a program that trains; its worker goes on renewing the lease."""
        if victim := self._found(lambda marks: marks.own == "training" and marks.of_trainer != BETWEEN):
            self._pause([victim[1].trainer])

    def pause_the_run(self) -> None:
        """Stops the process that renews the leases, with none or one of its workers."""
        run = self._run()
        own = [pid for pid in self.stage.workers() if pid in self.stage.below(run.pid)]
        self._pause([run.pid, *self.rng.sample(own, min(len(own), self.rng.randint(0, 1)))])

    def pause_everything(self) -> None:
        """Stops all there is, as a laptop that sleeps."""
        self._pause(self.stage.family())

    def fill_the_disk(self) -> None:
        """Fills the disk, kills a worker and a trainer meanwhile; the same run goes on when there is room."""
        run = self._run_at_work()
        told = self.stage.said.count("is full")
        with full(self.stage.disk):
            wait_for(lambda: self.stage.said.count("is full") > told or run.poll() is not None, "news of the full disk")
            self.kill_a_trainer()
            if victim := self._found(lambda marks: True):
                self.stage.send(signal.SIGKILL, victim[0])
                self.kills["worker", "disk full"] += 1
            time.sleep(self.rng.uniform(0.5, 2.0))
        self._goes_on(run, "the disk had room")
        self.deeds["disk full"] += 1

    def lock_the_database(self, *, seconds: float = BUSY_SECONDS + 4) -> None:
        """Has another process hold the database for longer than anybody waits for it, and kills a worker meanwhile."""
        run = self._run_at_work()
        database = self.stage.disk / "broodline.db"
        locker = subprocess.Popen([sys.executable, "-c", LOCK, database, str(seconds)], stdout=subprocess.PIPE)
        assert locker.stdout is not None
        assert locker.stdout.readline() == b"locked\n"
        if victim := self._found(lambda marks: True):
            self.stage.send(signal.SIGKILL, victim[0])
            self.kills["worker", "database locked"] += 1
        locker.communicate()
        self._goes_on(run, "the database was free")
        self.deeds[f"database locked for {seconds:.0f} s"] += 1

    def _kill_while_it_asks(self) -> None:
        """Kills a worker, and its successor while that asks for the first time: later, workers ask with what they complete."""
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
        """Waits until a worker that was aimed at is killed by its timer; it is let go if it does not come to its phase."""
        if not came_true(lambda: state_of(pid) in "ZX", seconds=PATIENCE, pause=0.005):
            if marks.let_go():
                return
            wait_for(lambda: state_of(pid) in "ZX", "the end of a worker whose timer was running")
        if marks.let_go():  # it ended otherwise: it left, or was killed before it came to the phase
            return
        # Too late for the phase that was aimed at, it hit the next; the trainer has gone on since, so what that did is not known.
        self.kills["worker", marks.phase if marks.own != "training" or marks.phase == "sweeping" else BETWEEN] += 1

    def _kill_while_it_trains(self, phase: str) -> None:
        if victim := self._found(lambda marks: marks.phase == phase):
            time.sleep(self.rng.uniform(0, 0.005))
            self._kill_at_once("worker", [victim[0]])

    def _kill_at_once(self, whom: str, pids: list[int]) -> None:
        """Kills processes that were stopped first, so that nobody does anything between the first kill and the last."""
        workers = self.stage.workers()
        self.stage.halt(*pids)
        for pid in pids:
            if pid in workers and self.stage.lives(pid):
                self.kills[whom, workers[pid].phase] += 1
        self.stage.send(signal.SIGKILL, *pids)
        self.deeds[f"{whom} killed"] += 1

    def _pause(self, pids: list[int]) -> None:
        self.stage.send(signal.SIGSTOP, *pids)
        time.sleep(LEASE * self.rng.uniform(1.2, 2.0))
        self.stage.send(signal.SIGCONT, *pids)
        self.deeds["stopped for longer than a lease"] += 1

    def _found(self, which: Callable[[Marks], bool]) -> tuple[int, Marks] | None:
        """A worker of which something is true, soon."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            workers = list(self.stage.workers().items())
            self.rng.shuffle(workers)
            for _ in range(50):
                for pid, marks in workers:
                    if which(marks) and self.stage.lives(pid):
                        return pid, marks
                time.sleep(0.001)
        return None

    def _goes_on(self, run: subprocess.Popen[bytes], since: str) -> None:
        """Waits until the same run completes trials again, or is done."""
        assert self.stage.completes(1), f"nothing was completed after {since}:\n{self.stage.said[-3000:]}"
        if run.poll() not in (None, 0):
            raise AssertionError(f"after {since}, the run ended with status {run.poll()}:\n{self.stage.said[-3000:]}")

    def _run(self) -> subprocess.Popen[bytes]:
        assert self.stage.run is not None
        return self.stage.run

    def _run_at_work(self) -> subprocess.Popen[bytes]:
        """The run, when it has begun: one that can't even begin may say so and end."""
        run = self._run()
        wait_for(lambda: run.poll() is not None or run.pid in map(parent_of, self.stage.workers()), "the run's first worker")
        return run
