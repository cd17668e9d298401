"""Every strategy keeps the contract of strategies."""

from __future__ import annotations

from typing import Any

import pytest

from broodline.core.strategy import Strategy
from broodline.strategies.registry import load_strategy
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


class TestGrid(StrategyContract):
    def strategy(self) -> Strategy:
        return load_strategy("grid")

    def tables(self) -> dict[str, Any]:
        space = {
            "lr": {"float": [1e-4, 1.0], "log": True},
            "optimizer": {"choice": ["sgd", "adam"]},
            "momentum": {"float": [0.0, 1.0], "when": {"optimizer": "sgd"}},
            "width": 64,
        }
        evolution = {"strategy": "grid", "points": 3}
        return {"space": space, "evolution": evolution, "population": 12, "budget": {"generations": 5}}


class OptunaContract(StrategyContract):
    sampler: str

    def strategy(self) -> Strategy:
        return load_strategy("optuna")

    def tables(self) -> dict[str, Any]:
        return {"evolution": {"strategy": "optuna", "sampler": self.sampler}, "population": 12, "budget": {"generations": 5}}


class TestOptunaTpe(OptunaContract):
    sampler = "tpe"


class TestOptunaCmaes(OptunaContract):
    sampler = "cmaes"


class TestOptunaQmc(OptunaContract):
    sampler = "qmc"


class TestOptunaRandom(OptunaContract):
    sampler = "random"


@pytest.mark.frameworks  # Optuna's GPSampler needs torch
class TestOptunaGp(OptunaContract):
    sampler = "gp"
