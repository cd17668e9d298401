"""Workers over HTTP: the service is killed and started again, and the network between them delays, cuts and half-closes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import ENVIRONMENT
from living import wait_for
from proxy import Proxy, proxied
from serving import TOKENS, serving
from soak.disk_checker import database_problems
from soak.log_checker import checked
from soak.phase_log import DIRECTORY, logged
from soak.stage import HERE, study_text

TRIALS, KILLS = 30, 4


class Remote:
    """A study whose workers see only a URL.

    Args:
        directory: Holds everything.
        url: The service, as its workers see it.
    """

    def __init__(self, directory: Path, url: str) -> None:
        self.directory, self.url = directory, url
        self.study, self.notes = directory / "study.toml", directory / "notes"
        (self.notes / "phases").mkdir(parents=True)
        self.study.write_text(study_text(TRIALS, population=4, workers=2, keep_best=2, lease=4.0))
        path = os.pathsep.join([str(HERE / "phase_probe"), ENVIRONMENT["PYTHONPATH"]])
        self.environment = ENVIRONMENT | {
            DIRECTORY: str(self.notes),
            "PYTHONPATH": path,
            "BROODLINE_TOKEN": TOKENS["admin"],
        }

    @contextmanager
    def started(self, command: str) -> Iterator[subprocess.Popen[str]]:
        arguments = [sys.executable, "-m", "broodline", command, str(self.study), "--store", self.url, "--json"]
        with (self.directory / f"{command}.output").open("a") as output:
            process = subprocess.Popen(arguments, env=self.environment, stdout=output, stderr=subprocess.STDOUT, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def log(self) -> list[Any]:
        return list(logged(self.notes)) if (self.notes / "log").exists() else []

    def acknowledged(self) -> int:
        return sum(entry["event"] == "acknowledged" for entry in self.log())

    def wait_for_trials(self, count: int, run: subprocess.Popen[str]) -> None:
        wait_for(lambda: self.acknowledged() >= count or run.poll() is not None, f"{count} trials")
        assert run.poll() is None, self.output("run")

    def output(self, command: str) -> str:
        return (self.directory / f"{command}.output").read_text()

    def judge(self) -> None:
        """Nothing was lost, and nothing trained twice after it was acknowledged."""
        listed = [sys.executable, "-m", "broodline", "trials", str(self.study), "--json"]
        printed = subprocess.run(listed, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
        records = [json.loads(line) for line in printed.splitlines()]
        verdict = checked(records, self.log(), {})
        assert verdict.clean, verdict
        assert verdict.acknowledged >= TRIALS - 3
        assert len(records) == TRIALS
        assert list(database_problems(self.directory / "broodline.db", "soak")) == []


@pytest.mark.timeout(600)
def test_a_service_that_is_killed_and_started_again_loses_nothing(tmp_path: Path) -> None:
    with proxied(Proxy(to=0)) as proxy:
        remote = Remote(tmp_path, f"http://127.0.0.1:{proxy.port}")
        with ExitStack() as services:
            service = services.enter_context(serving(tmp_path))
            proxy.to = service.port
            with remote.started("run") as run:
                for kill in range(1, KILLS + 1):
                    remote.wait_for_trials(4 * kill, run)
                    service.kill()
                    service = services.enter_context(serving(tmp_path, "--port", str(service.port)))
                assert run.wait(300) == 0, remote.output("run")
    remote.judge()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [0])
def test_a_network_that_delays_cuts_and_half_closes_loses_nothing(tmp_path: Path, seed: int) -> None:
    with serving(tmp_path) as service, proxied(Proxy(to=service.port, seed=seed)) as proxy:
        remote = Remote(tmp_path, f"http://127.0.0.1:{proxy.port}")
        with remote.started("run") as run:
            remote.wait_for_trials(1, run)
            proxy.rate = 0.1
            remote.wait_for_trials(TRIALS - 6, run)
            proxy.rate = 0.0
            assert run.wait(300) == 0, remote.output("run")
        assert all(proxy.faults[fault] for fault in ("delay", "cut", "half-close")), proxy.faults
        assert "Traceback" not in service.errors.read_text()
    remote.judge()
