"""Thousands of real trials while processes are killed and stopped, the disk fills, and the database is locked: `make soak`.

It takes 10 to 20 minutes. `BROODLINE_SOAK_SEED` draws other faults, `BROODLINE_SOAK_TRIALS` changes the number of trials.
A kill counts for the phase that it hit, which is read from memory that outlives the worker.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from soak.fault_injector import PATIENCE, FaultInjector
from soak.log_checker import Verdict, checked, checkpoint_problems, database_problems, disk_problems, unchanged
from soak.phase_log import PHASES, logged
from soak.stage import Stage, came_true, small_disk

from broodline.storage.checkpoints.local import LocalCheckpointStore

SEED = int(os.environ.get("BROODLINE_SOAK_SEED", "0"))
TRIALS = int(os.environ.get("BROODLINE_SOAK_TRIALS", "2000"))
ROUND = 500  # trials; then the study is checked, and resumes with a larger budget
JOINED = 2
PACE = 3  # completions between two faults, or PATIENCE seconds
ENOUGH = 20  # kills in each phase
LEGITIMATE = ("lost its worker", "killed by signal SIGKILL")


class Observer:
    """Reads a study at random moments through the command line; a trial that it saw completed must never change."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._over, self._one_at_a_time = stage, threading.Event(), threading.Lock()
        self.seen: dict[int, dict[str, Any]] = {}
        self.changed: list[str] = []
        self.looks = self.failed_looks = self.most = 0

    def look(self) -> None:
        """Takes a snapshot."""
        with self._one_at_a_time:  # an older snapshot must not be compared with a newer one
            self._look()

    def _look(self) -> None:
        present = sum(
            len(os.listdir(location)) for location in (self._stage.files / "checkpoints", self._stage.files / "staging")
        )
        done = self._stage.call("trials", self._stage.study, "--json", "--state", "completed")
        if done.returncode:  # the disk is full, or the database does not exist yet
            self.failed_looks += 1
            return
        self.looks, self.most = self.looks + 1, max(self.most, present)
        now = {record["number"]: record for record in map(json.loads, done.stdout.splitlines())}
        for number, before in self.seen.items():
            if not unchanged(before, now.get(number, {})):
                self.changed.append(f"trial {number} was {before} and is {now.get(number)}")
        self.seen = {**now, **self.seen}

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Takes snapshots while the block runs."""
        thread = threading.Thread(target=self._look_repeatedly)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _look_repeatedly(self) -> None:
        while not self._over.wait(random.uniform(0.5, 4.0)):
            self.look()


def faults_of(injector: FaultInjector, *, may_fill: bool) -> list[Callable[[], None]]:
    """The faults other than kills of workers, in random order."""
    faults = [injector.kill_a_trainer] * 25 + [injector.kill_the_run] * 8 + [injector.kill_everything] * 12
    faults += [injector.kill_a_joined_worker] * 8 + [injector.pause_a_worker] * 4 + [injector.pause_a_trainer] * 3
    faults += [injector.pause_the_run] * 4 + [injector.pause_everything] * 3 + [injector.lock_the_database]
    faults += [injector.fill_the_disk] * 3 if may_fill else []
    injector.rng.shuffle(faults)
    return faults


def inject(stage: Stage, injector: FaultInjector, faults: list[Callable[[], None]]) -> None:
    """Injects faults until the run is done; starts a killed run again."""
    while True:
        if stage.run is None or stage.run.poll() == -signal.SIGKILL:
            stage.start()
        run = stage.run
        assert run is not None
        if (status := run.poll()) == 0:
            return
        assert status is None, f"the run ended by itself with status {status}:\n{stage.printed[-3000:]}"
        stage.joined = [joined for joined in stage.joined if joined.poll() is None]
        while len(stage.joined) < JOINED:
            stage.join()
        fault = faults.pop() if faults and injector.rng.random() < 0.4 else injector.kill_a_worker
        fault()
        stage.completes(PACE, seconds=PATIENCE)


def wait_for_end(stage: Stage) -> list[str]:
    """Waits until all processes of a finished run have ended; returns the problem of each that has not."""
    if came_true(lambda: not stage.processes(), seconds=30):
        return []
    left = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in stage.processes()]
    stage.kill_everything()
    return [f"still running after the end of the study: {command}" for command in left]


def verdict_on(stage: Stage, observer: Observer) -> Verdict:
    """Checks the records, checkpoints and database of an idle study."""
    observer.look()
    records, log = records_of(stage), list(logged(stage.notes))
    files = LocalCheckpointStore(stage.files)
    verdict = checked(records, log, observer.seen)
    verdict.lost += observer.changed
    verdict.breaches += [
        *checkpoint_problems(records, log, files),
        *disk_problems(records, files),
        *database_problems(stage.disk / "broodline.db", "soak"),
        *(f"trial {record['number']} failed: {record['reason']}" for record in records if not _may_fail_or_complete(record)),
    ]
    return verdict


def records_of(stage: Stage) -> list[dict[str, Any]]:
    """The trials, as the command line prints them."""
    done = stage.call("trials", stage.study, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _may_fail_or_complete(record: dict[str, Any]) -> bool:
    return record["state"] == "completed" or any(reason in (record["reason"] or "") for reason in LEGITIMATE)


def report_of(injector: FaultInjector, observer: Observer, verdict: Verdict, stage: Stage, seconds: float) -> str:
    """The report of the whole soak."""
    victims = sorted({victim for victim, _ in injector.kills})
    phases = [*PHASES, *sorted({phase for _, phase in injector.kills} - set(PHASES))]
    table = [["killed in", *victims, "all"]]
    table += [[phase, *(str(injector.kills[victim, phase]) for victim in victims), str(injector.hits(phase))] for phase in phases]
    table += [
        ["all", *(str(sum(injector.kills[victim, phase] for phase in phases)) for victim in victims), str(injector.kills.total())]
    ]
    ends = Counter(f"{record['state']} {record['reason'] or ''}".strip() for record in records_of(stage))
    return "\n".join(
        (
            f"seed {SEED}, {seconds:.0f} s, {stage.runs} runs",
            *("".join(f"{cell:>16}" for cell in row) for row in table),
            "faults: " + ", ".join(f"{fault} {count}" for fault, count in sorted(injector.faults.items())),
            "trials: " + ", ".join(f"{count} {end}" for end, count in ends.most_common()),
            f"observed {observer.looks} times, {observer.failed_looks} attempts failed",
            f"at most {observer.most} directories of checkpoints",
            f"acknowledged {verdict.acknowledged}, lost {len(verdict.lost)}, trained again {len(verdict.retrained)}, "
            f"breaches {len(verdict.breaches)}",
            f"late completions refused {verdict.refused}, superseded attempts that started late {verdict.late}",
        )
    )


def soaked(
    stage: Stage, injector: FaultInjector, faults: list[Callable[[], None]], show: Callable[[str], None]
) -> tuple[Verdict, Observer]:
    """Runs rounds until each phase and fault has had its share or a check fails; checks everything after each round."""
    began, observer, allowed = time.monotonic(), Observer(stage), 0
    with observer.looking():
        while True:
            allowed += ROUND
            stage.allow(allowed)
            stage.start()
            assert stage.completes(1), "nothing was completed"
            inject(stage, injector, faults)
            left = wait_for_end(stage)
            verdict = verdict_on(stage, observer)
            verdict.breaches += left
            show(f"{allowed} trials, {injector.kills.total()} kills, {len(faults)} faults left, {time.monotonic() - began:.0f} s")
            hit = all(injector.hits(phase) >= ENOUGH for phase in PHASES)
            if not verdict.clean or (allowed >= TRIALS and hit and not faults) or allowed >= 5 * TRIALS:
                return verdict, observer


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
def test_nothing_is_ever_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()

    def show(line: str) -> None:
        with capsys.disabled():
            print("\n" + line, flush=True)

    with small_disk(tmp_path / "disk") as no_disk:
        stage = Stage(tmp_path / "disk", tmp_path / "notes", SEED)
        injector = FaultInjector(stage=stage, rng=random.Random(SEED))
        faults = faults_of(injector, may_fill=no_disk is None)
        if no_disk is not None:
            show(f"skipped, the full disk: {no_disk}")
        try:
            verdict, observer = soaked(stage, injector, faults, show)
            show(report_of(injector, observer, verdict, stage, time.monotonic() - began))
        finally:
            stage.kill_everything()
    assert verdict.lost == []
    assert verdict.retrained == []
    assert verdict.breaches == []
    assert verdict.acknowledged >= 0.9 * TRIALS
    assert not faults, f"{len(faults)} faults were not injected"
    assert {phase: injector.hits(phase) for phase in PHASES if injector.hits(phase) < ENOUGH} == {}
