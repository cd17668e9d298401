"""Strategies by name."""

from __future__ import annotations

from typing import Any

from broodline.core.strategy import NoOptions, Strategy
from broodline.core.study import Evolution
from broodline.registry import STRATEGIES

RENAMED = {"none": "random", "alone": "continue"}
"""Strategies by their names until version 0.1; version 0.2 drops these."""


def strategy_class(name: str) -> type[Strategy]:
    """The class of the strategy of that name, or of that former name.

    Raises:
        UsageError: No installed package has it.
    """
    found: type[Strategy] = STRATEGIES.load(RENAMED.get(name, name))
    return found


def load_strategy(evolution: Evolution) -> Strategy:
    """The strategy that a study names, with the options that the study gives.

    Raises:
        UsageError: No installed package has it.
    """
    found: Any = strategy_class(evolution.strategy)
    strategy: Strategy = found() if found.Options is NoOptions else found(options=found.Options(**evolution.options))
    return strategy
