"""Every engine keeps the contract of engines."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from broodline.registry import ENGINES
from broodline.testing import EngineContract, StoppedWorkersContract
from broodline.workers.engines.launcher import Handle, LauncherType
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


def test_the_local_engine_is_found_by_its_name() -> None:
    assert ENGINES.load("local") is LocalLauncher
