"""Looks at a study while it runs and after its end, and judges it."""

from __future__ import annotations

import json
import os
import random
import threading
from contextlib import AbstractContextManager
from typing import Any

from living import repeatedly
from soak.disk_checker import checkpoint_problems, database_problems, disk_problems, leftovers, process_problems
from soak.log_checker import Verdict, checked, unchanged, vanished
from soak.phase_log import logged
from soak.stage import KEEP_BEST, NAME, Stage, came_true

LEGITIMATE = ("lost its worker", "killed by signal SIGKILL")


class Observer:
    """Reads a study at random moments through the command line; a trial that it saw completed must never change."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._one_at_a_time = stage, threading.Lock()
        self.seen: dict[int, dict[str, Any]] = {}
        self.changed: list[str] = []
        self.looks = self.failed_looks = self.most = 0

    def look(self) -> None:
        """Takes a snapshot."""
        with self._one_at_a_time:  # an older snapshot must not be compared with a newer one
            self._look()

    def _look(self) -> None:
        checkpoints = self._stage.checkpoints
        try:
            present = sum(len(os.listdir(location)) for location in (checkpoints.committed, checkpoints.staging))
        except OSError:  # the directory is not mounted
            present = 0
        done = self._stage.call("trials", self._stage.study, "--json", "--state", "completed")
        if done.returncode:  # the disk is full, or the database does not exist yet
            self.failed_looks += 1
            return
        self.looks, self.most = self.looks + 1, max(self.most, present)
        now = {record["number"]: record for record in map(json.loads, done.stdout.splitlines())}
        for number, before in self.seen.items():
            if not unchanged(before, now.get(number, {})):
                self.changed.append(f"trial {number} was {before} and is {now.get(number)}")
        self.changed += vanished(list(now.values()), keep_best=KEEP_BEST)
        self.seen = {**now, **self.seen}

    def looking(self) -> AbstractContextManager[None]:
        """Takes snapshots while the block runs."""
        return repeatedly(self.look, lambda: random.uniform(0.5, 4.0))


def problems_after_end(stage: Stage) -> list[str]:
    """Waits until all processes of a finished run have ended; returns what is left of them that should not be."""
    came_true(lambda: not stage.processes(), seconds=30)
    left = [*process_problems(stage.processes()), *leftovers(stage.files.workers, stage.scratch)]
    stage.kill_everything()
    return left


def verdict_on(stage: Stage, observer: Observer) -> Verdict:
    """Checks the records, checkpoints, files and database of an idle study."""
    observer.look()
    records, log, files = records_of(stage), list(logged(stage.notes)), stage.checkpoints
    verdict = checked(records, log, observer.seen, keep_best=KEEP_BEST)
    verdict.compared = sum(record["checkpoint"] is not None for record in records)
    verdict.lost += [*observer.changed, *checkpoint_problems(records, log, files)]
    verdict.breaches += [
        *disk_problems(records, files),
        *database_problems(stage.database, NAME),
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
