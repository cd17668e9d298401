"""Strategies by name."""

from __future__ import annotations

from functools import lru_cache

from broodline.core.strategy import Strategy
from broodline.registry import STRATEGIES


@lru_cache(maxsize=64)
def load_strategy(name: str) -> Strategy:
    """The strategy of that name.

    Raises:
        UsageError: No installed package has it.
    """
    strategy: Strategy = STRATEGIES.load(name)()
    return strategy
