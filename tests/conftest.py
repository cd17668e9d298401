"""Settings and the end of every test session."""

from __future__ import annotations

from commands import warm_interpreter
from hypothesis import settings

# No test fails because a machine is slow.
settings.register_profile("broodline", deadline=None)
settings.load_profile("broodline")


def pytest_unconfigure() -> None:
    """Ends the process that runs the commands of this session's tests."""
    warm_interpreter.close()
