"""Which processes live and stand still."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from living import wait_for

from broodline.lifelines import is_frozen


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_process_is_frozen_from_sigstop_to_sigcont() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        assert not is_frozen(process.pid)
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: is_frozen(process.pid))
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: not is_frozen(process.pid))
        process.kill()
    assert not is_frozen(process.pid)
    assert not is_frozen(os.getpid())
