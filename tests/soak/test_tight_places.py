"""Many real workers on one database, and a study on a disk of 3 MB: the log of SQLite stays short, and a full disk passes."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
from commands import TRAINER, call
from living import repeatedly, running, trials_of, wait_for, write_study
from soak.stage import came_true, full, small_disk

from broodline.storage.sqlite.connections import LOG_BYTES

MIB = 1 << 20
WORKERS, TRIALS = 51, 400
LONGEST = 2 * LOG_BYTES  # the log may grow while it waits for readers
TINY, TINY_WORKERS = 3 * MIB, 8

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


class Longest:
    """The size of the largest file at a path, at frequent looks."""

    def __init__(self, path: Path) -> None:
        self._path, self.bytes = path, 0

    def watched(self) -> AbstractContextManager[None]:
        """Looks while the block runs."""
        return repeatedly(self._look, lambda: 0.005)

    def _look(self) -> None:
        with suppress(OSError):
            self.bytes = max(self.bytes, os.stat(self._path).st_size)


def test_the_log_of_a_database_stays_bounded_with_51_workers(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    study = write_study(tmp_path, trainer=TRAINER, population=WORKERS, workers=WORKERS, budget=f"trials = {TRIALS}")
    log = Longest(tmp_path / "broodline.db-wal")
    with running("run", study, cwd=tmp_path) as run, log.watched():
        assert run.popen.wait(3000) == 0, run.said
    request.node.user_properties.append(("figures", f"{WORKERS} workers, the longest log: {log.bytes / MIB:.1f} MiB"))
    assert [(trial["state"], trial["attempt"]) for trial in trials_of(study)] == [("completed", 1)] * TRIALS
    assert log.bytes <= LONGEST


def test_a_study_on_a_disk_of_3_mb_recovers_when_it_is_full(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with small_disk(tmp_path / "disk", TINY, in_memory=True) as problem:
        if problem:
            pytest.skip(problem)
        study = write_study(tmp_path / "disk", trainer=TRAINER, population=8, workers=TINY_WORKERS, budget="trials = 400")
        log = Longest(tmp_path / "disk" / "broodline.db-wal")
        with running("run", study, cwd=tmp_path) as run, log.watched():
            wait_for(lambda: run.popen.poll() is not None or completed(study) >= 20)
            with full(tmp_path / "disk"):
                wait_for(lambda: "is full" in run.said or run.popen.poll() is not None)
                # A program can lose the message of its failure on the full disk, and its worker must then see it full.
                came_true(lambda: len(set(re.findall(r"worker (\d): .*is full", run.said))) == TINY_WORKERS, seconds=20)
            assert run.popen.wait(3000) == 0, run.said
        request.node.user_properties.append(("figures", f"a disk of 3 MB, the longest log: {log.bytes / MIB:.1f} MiB"))
        assert [(trial["state"], trial["reason"]) for trial in trials_of(study)] == [("completed", None)] * 400


def completed(study: Path) -> int:
    """The number of completed trials; 0 while the study does not exist yet."""
    done = call("trials", study, "--json", "--state", "completed")
    return 0 if done.returncode else len(done.stdout.splitlines())
