"""PostgreSQL is restarted in the midst of a real run: nothing is lost, and nothing is trained again after it was acknowledged.

The judge is the log that the training program and the workers write and flush themselves, not the database.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from commands import ENVIRONMENT
from living import wait_for
from postgres import Server
from soak.disk_checker import checkpoint_problems, disk_problems
from soak.log_checker import checked
from soak.phase_log import DIRECTORY, logged
from soak.stage import study_text

from broodline.storage.checkpoints.local import LocalCheckpointStore
from broodline.storage.postgres.store import PostgresStore
from broodline.testing import check_invariants

SOAK = Path(__file__).parents[1] / "soak"
TRIALS, WORKERS = 1_000_000, 2  # the test stops the study


class Crowd:
    """A study on PostgreSQL, and the processes that train it."""

    def __init__(self, directory: Path, url: str, life: ExitStack) -> None:
        self.url, self.study, self.notes, self.files = url, directory / "study.toml", directory / "notes", directory / "files"
        (self.notes / "phases").mkdir(parents=True)
        (self.notes / "log").touch()
        path = os.pathsep.join([str(SOAK / "phase_probe"), ENVIRONMENT["PYTHONPATH"]])
        self._environ = ENVIRONMENT | {DIRECTORY: str(self.notes), "PYTHONPATH": path}
        self._life = life
        self.study.write_text(study_text(TRIALS, population=4, workers=WORKERS, keep_best=2, lease=30.0))

    def start(self, command: str) -> subprocess.Popen[str]:
        arguments = [command, self.study, "--store", self.url, "--files", self.files]
        line = [sys.executable, "-m", "broodline", *map(str, arguments)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(line, env=self._environ, stdout=subprocess.DEVNULL, stderr=pipe, text=True)
        self._life.callback(process.kill)
        return self._life.enter_context(process)

    def output(self, command: str) -> list[dict[str, Any]]:
        line = [sys.executable, "-m", "broodline", command, "soak", "--store", self.url, "--json"]
        done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=True)
        return [json.loads(each) for each in done.stdout.splitlines()]

    @property
    def acknowledged(self) -> int:
        return sum(entry["event"] == "acknowledged" for entry in logged(self.notes))


@pytest.mark.timeout(600)
def test_a_run_survives_restarts_of_the_server(postgres: Server, tmp_path: Path) -> None:
    with ExitStack() as life:
        crowd = Crowd(tmp_path, postgres.new_schema(), life)
        run = crowd.start("run")
        wait_for(lambda: crowd.acknowledged >= 3, "the first trials")
        joined = crowd.start("worker")
        of_joined = f"SELECT 1 FROM {crowd.url.rpartition('%3D')[2]}.trials WHERE worker LIKE '%-%'"
        wait_for(lambda: postgres.execute(of_joined), "a trial of the worker that joined")
        for restarts in range(4):
            reached = crowd.acknowledged + 5
            wait_for(lambda reached=reached: crowd.acknowledged >= reached, "five more trials")  # type: ignore[misc]
            if restarts < 3:
                postgres.restart("immediate")
        crowd.output("stop")
        shown = run.communicate(timeout=400)[1] + joined.communicate(timeout=100)[1]
        assert (run.returncode, joined.returncode) == (0, 0), shown
        records, log = crowd.output("trials"), list(logged(crowd.notes))
    verdict = checked(records, log, {})
    files = LocalCheckpointStore(crowd.files / "soak")
    assert (verdict.lost, verdict.retrained, verdict.breaches) == ([], [], [])
    assert 20 <= verdict.acknowledged == Counter(record["state"] for record in records)["completed"]
    assert [*checkpoint_problems(records, log, files), *disk_problems(records, files)] == []
    with closing(PostgresStore(crowd.url, create=False)) as store:
        check_invariants(store, "soak")
