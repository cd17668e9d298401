"""Settings and the end of every test session."""

from __future__ import annotations

import properties  # registers the profiles # noqa: F401
from commands import warm_interpreter
from hypothesis import settings

settings.load_profile("broodline")  # --hypothesis-profile comes later and takes its place


def pytest_unconfigure() -> None:
    """Ends the process that runs the commands of this session's tests."""
    warm_interpreter.close()
