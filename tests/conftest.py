"""Settings and the end of every test session."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress

import properties  # registers the profiles # noqa: F401
import pytest
from commands import warm_interpreter
from hypothesis import settings
from postgres import Server, started_server

# Where PYTHONDONTWRITEBYTECODE is set, pytest would rewrite every test again in each of its processes, and each process that a
# test starts would compile broodline again, a quarter of its start. What the tests start still writes none. `mutants.py`
# changes files so quickly that Python would take the bytecode of one mistake for that of the next.
sys.dont_write_bytecode = "MUTANTS" in os.environ

# A shell ignores Ctrl-C in what it runs in the background, and programs inherit that: the tests of interruptions need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.load_profile("broodline")  # --hypothesis-profile comes later and takes its place


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server for this session; the test is skipped where none can be had."""
    server = started_server()
    yield server
    with suppress(RuntimeError):  # a test may have stopped it
        server.stop()
    shutil.rmtree(server.home, ignore_errors=True)


def pytest_unconfigure() -> None:
    """Ends the process that runs the commands of this session's tests."""
    warm_interpreter.close()
