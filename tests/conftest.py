"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# No test fails because a machine is slow.
settings.register_profile("broodline", deadline=None)
settings.load_profile("broodline")
