"""Every strategy keeps the contract of strategies."""

from __future__ import annotations

from typing import Any

from broodline.plugins import load_strategy
from broodline.strategies import Strategy
from broodline.testing import StrategyContract


class TestInitiator(StrategyContract):
    def strategy(self) -> Strategy:
        return load_strategy("initiator")


class TestGenerational(StrategyContract):
    def strategy(self) -> Strategy:
        return load_strategy("generational")

    def tables(self) -> dict[str, Any]:
        return {"evolution": {"strategy": "generational", "parents": 2}}


class TestNone(StrategyContract):
    def strategy(self) -> Strategy:
        return load_strategy("none")

    def tables(self) -> dict[str, Any]:
        return {"evolution": {"strategy": "none"}}


class TestAlone(StrategyContract):
    def strategy(self) -> Strategy:
        return load_strategy("alone")

    def tables(self) -> dict[str, Any]:
        return {"evolution": {"strategy": "alone"}}
