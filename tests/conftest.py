"""Settings and the end of every test session."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress

import properties  # registers the profiles # noqa: F401
import pytest
from commands import warm_interpreter
from hypothesis import settings
from postgres import Server, started_server

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
