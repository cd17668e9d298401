"""How many examples Hypothesis tries: few in each `make test`, many in `make soak`."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

# No test fails because a machine is slow.
settings.register_profile("broodline", deadline=None, max_examples=40)
settings.register_profile("soak", deadline=None, max_examples=2000)


def share_of_examples(share: float, **options: Any) -> settings:
    """Settings of a property whose examples are expensive.

    Args:
        share: The part of the profile's examples that it tries.
        **options: More settings.
    """
    assert settings.default is not None
    return settings(max_examples=round(share * settings.default.max_examples), **options)
