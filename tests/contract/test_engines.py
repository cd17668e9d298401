"""Every engine keeps the contract of engines."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing
from pathlib import Path

import pytest

from broodline.controller.client import WorkerSession
from broodline.errors import WorkerError
from broodline.registry import ENGINES
from broodline.testing import EngineContract, StoppedWorkersContract
from broodline.workers.engines.launcher import Handle, Job, LauncherType, WorkerSpec
from broodline.workers.engines.local import LocalHandle, LocalLauncher


class TestLocal(EngineContract):
    def launcher(self) -> LauncherType:
        return LocalLauncher


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows that a process is stopped")
class TestLocalStopped(StoppedWorkersContract):
    def launcher(self) -> LauncherType:
        return LocalLauncher

    def stop_running(self, handle: Handle) -> None:
        assert isinstance(handle, LocalHandle)
        os.kill(handle.pid, signal.SIGSTOP)


def test_a_folder_that_is_gone_is_named_where_a_worker_is_to_start(tmp_path: Path) -> None:
    launcher = LocalLauncher(job=Job(store="sqlite:///x.db", study="x", trainer=b""), cwd=tmp_path / "gone")
    with closing(launcher), pytest.raises(WorkerError, match=r"a worker process can't be started in .*/gone"):
        launcher.launch(WorkerSpec(index=0, identity=WorkerSession(worker="0", session="a")))


def test_the_local_engine_is_found_by_its_name() -> None:
    assert ENGINES.load("local") is LocalLauncher
