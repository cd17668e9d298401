"""Thousands of real trials, while everything is killed, stopped, filled and locked. `make soak`; 10 to 20 minutes.

`BROODLINE_SOAK_SEED` plays another game, `BROODLINE_SOAK_TRIALS` a longer one. Kills are counted by the phase that they really
hit: what a worker was doing is read from memory that outlives it.
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
ROUND = 500  # trials; then the study is done, looked at, and goes on with a larger budget
JOINED = 2
PACE = 3  # completions between two deeds; not waited for longer than PATIENCE
ENOUGH = 20  # kills in each phase
LEGITIMATE = ("lost", "killed by signal SIGKILL")


class Observer:
    """Looks at a study at random moments, as anybody may; what it saw completed must stay as it was."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._over, self._one_at_a_time = stage, threading.Event(), threading.Lock()
        self.seen: dict[int, dict[str, Any]] = {}
        self.changed: list[str] = []
        self.looks = self.in_vain = self.most = 0

    def look(self) -> None:
        """Takes a snapshot."""
        with self._one_at_a_time:  # an older one must not be compared with a younger
            self._look()

    def _look(self) -> None:
        lying = sum(len(os.listdir(location)) for location in (self._stage.files / "checkpoints", self._stage.files / "staging"))
        done = self._stage.call("trials", self._stage.study, "--json", "--state", "completed")
        if done.returncode:  # the disk is full, or the database was just being made
            self.in_vain += 1
            return
        self.looks, self.most = self.looks + 1, max(self.most, lying)
        now = {record["number"]: record for record in map(json.loads, done.stdout.splitlines())}
        for number, before in self.seen.items():
            if not unchanged(before, now.get(number, {})):
                self.changed.append(f"trial {number} was {before} and is {now.get(number)}")
        self.seen = {**now, **self.seen}

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Looks while the block runs."""
        thread = threading.Thread(target=self._look_again_and_again)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _look_again_and_again(self) -> None:
        while not self._over.wait(random.uniform(0.5, 4.0)):
            self.look()


def deeds_of(injector: FaultInjector, *, may_fill: bool) -> list[Callable[[], None]]:
    """What is done besides killing workers, in random order."""
    deeds = [injector.kill_a_trainer] * 25 + [injector.kill_the_run] * 8 + [injector.kill_everything] * 12
    deeds += [injector.kill_a_joined_worker] * 8 + [injector.pause_a_worker] * 4 + [injector.pause_a_trainer] * 3
    deeds += [injector.pause_the_run] * 4 + [injector.pause_everything] * 3 + [injector.lock_the_database]
    deeds += [injector.fill_the_disk] * 3 if may_fill else []
    injector.rng.shuffle(deeds)
    return deeds


def play(stage: Stage, injector: FaultInjector, deeds: list[Callable[[], None]]) -> None:
    """Breaks things until the run is done by itself; a run that was killed is started again."""
    while True:
        if stage.run is None or stage.run.poll() == -signal.SIGKILL:
            stage.start()
        run = stage.run
        assert run is not None
        if (status := run.poll()) == 0:
            return
        assert status is None, f"the run ended by itself with status {status}:\n{stage.said[-3000:]}"
        stage.joined = [joined for joined in stage.joined if joined.poll() is None]
        while len(stage.joined) < JOINED:
            stage.join()
        deed = deeds.pop() if deeds and injector.rng.random() < 0.4 else injector.kill_a_worker
        deed()
        stage.completes(PACE, seconds=PATIENCE)


def rest(stage: Stage) -> list[str]:
    """Waits until all has ended with the run that is done; returns what did not."""
    if came_true(lambda: not stage.family(), seconds=30):
        return []
    left = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in stage.family()]
    stage.kill_everything()
    return [f"lives on after the end of the study: {command}" for command in left]


def verdict_on(stage: Stage, observer: Observer) -> Verdict:
    """Looks at everything there is of a study that rests."""
    observer.look()
    records, log = records_of(stage), list(logged(stage.notes))
    files = LocalCheckpointStore(stage.files)
    verdict = checked(records, log, observer.seen)
    verdict.lost += observer.changed
    verdict.breaches += [
        *checkpoint_problems(records, log, files),
        *disk_problems(records, files),
        *database_problems(stage.disk / "broodline.db", "soak"),
        *(f"trial {record['number']} failed: {record['reason']}" for record in records if not _may_be(record)),
    ]
    return verdict


def records_of(stage: Stage) -> list[dict[str, Any]]:
    """The trials, as anybody gets them."""
    done = stage.call("trials", stage.study, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _may_be(record: dict[str, Any]) -> bool:
    return record["state"] == "completed" or any(told in (record["reason"] or "") for told in LEGITIMATE)


def report_of(injector: FaultInjector, observer: Observer, verdict: Verdict, stage: Stage, seconds: float) -> str:
    """What is shown at the end."""
    whom = sorted({who for who, _ in injector.kills})
    phases = [*PHASES, *sorted({phase for _, phase in injector.kills} - set(PHASES))]
    table = [["killed in", *whom, "all"]]
    table += [[phase, *(str(injector.kills[who, phase]) for who in whom), str(injector.hits(phase))] for phase in phases]
    table += [["all", *(str(sum(injector.kills[who, phase] for phase in phases)) for who in whom), str(injector.kills.total())]]
    ends = Counter(f"{record['state']} {record['reason'] or ''}".strip() for record in records_of(stage))
    return "\n".join(
        (
            f"seed {SEED}, {seconds:.0f} s, {stage.runs} runs",
            *("".join(f"{cell:>16}" for cell in row) for row in table),
            "deeds: " + ", ".join(f"{deed} {count}" for deed, count in sorted(injector.deeds.items())),
            "trials: " + ", ".join(f"{count} {end}" for end, count in ends.most_common()),
            f"observed {observer.looks} times, {observer.in_vain} in vain; at most {observer.most} directories of checkpoints",
            f"acknowledged {verdict.acknowledged}, lost {len(verdict.lost)}, trained again {len(verdict.retrained)}, "
            f"breaches {len(verdict.breaches)}",
            f"late completions refused {verdict.refused}, superseded attempts that began late {verdict.late}",
        )
    )


def soaked(
    stage: Stage, injector: FaultInjector, deeds: list[Callable[[], None]], tell: Callable[[str], None]
) -> tuple[Verdict, Observer]:
    """Plays rounds until everything was done often enough, or something is wrong; looks at everything after each."""
    begun, observer, allowed = time.monotonic(), Observer(stage), 0
    with observer.looking():
        while True:
            allowed += ROUND
            stage.allow(allowed)
            stage.start()
            assert stage.completes(1), "nothing was completed"
            play(stage, injector, deeds)
            left = rest(stage)
            verdict = verdict_on(stage, observer)
            verdict.breaches += left
            tell(
                f"{allowed} trials, {injector.kills.total()} kills, {len(deeds)} deeds to come, {time.monotonic() - begun:.0f} s"
            )
            hit = all(injector.hits(phase) >= ENOUGH for phase in PHASES)
            if not verdict.clean or (allowed >= TRIALS and hit and not deeds) or allowed >= 5 * TRIALS:
                return verdict, observer


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
def test_nothing_is_ever_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()

    def tell(line: str) -> None:
        with capsys.disabled():
            print("\n" + line, flush=True)

    with small_disk(tmp_path / "disk") as no_disk:
        stage = Stage(tmp_path / "disk", tmp_path / "notes", SEED)
        injector = FaultInjector(stage=stage, rng=random.Random(SEED))
        deeds = deeds_of(injector, may_fill=no_disk is None)
        if no_disk is not None:
            tell(f"the full disk is left out: {no_disk}")
        try:
            verdict, observer = soaked(stage, injector, deeds, tell)
            tell(report_of(injector, observer, verdict, stage, time.monotonic() - begun))
        finally:
            stage.kill_everything()
    assert verdict.lost == []
    assert verdict.retrained == []
    assert verdict.breaches == []
    assert verdict.acknowledged >= 0.9 * TRIALS
    assert not deeds, f"{len(deeds)} deeds were not done"
    assert {phase: injector.hits(phase) for phase in PHASES if injector.hits(phase) < ENOUGH} == {}
