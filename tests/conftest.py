"""Settings and the end of every test session."""

from __future__ import annotations

import sys

import properties  # registers the profiles # noqa: F401
from commands import warm_interpreter
from hypothesis import settings

# Where PYTHONDONTWRITEBYTECODE is set, pytest would rewrite every test again in each of its processes, and each process that a
# test starts would compile broodline again: a fifth of all time. What the tests start still writes none.
sys.dont_write_bytecode = False

settings.load_profile("broodline")  # --hypothesis-profile comes later and takes its place


def pytest_unconfigure() -> None:
    """Ends the process that runs the commands of this session's tests."""
    warm_interpreter.close()
