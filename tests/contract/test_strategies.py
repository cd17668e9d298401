"""Every strategy keeps the contract of strategies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from broodline.registry import STRATEGIES
from broodline.testing import (
    AnyPopulationContract,
    IndependentLineagesContract,
    MixedLineagesContract,
    RestrictedPopulationContract,
)


class TestInitiator(MixedLineagesContract, AnyPopulationContract):
    name = "initiator"

    def variants(self) -> Mapping[str, Mapping[str, Any]]:
        return {
            "mutate": self.with_options(mutate=1.0),
            "resample": self.with_options(resample=1.0),
            "factors": self.with_options(factors=[0.01, 100.0]),
            "crossover": self.with_options(crossover=0.5),
        }


class TestGenerational(MixedLineagesContract, RestrictedPopulationContract):
    name = "generational"

    def tables(self) -> dict[str, Any]:
        return {"evolution": {"strategy": self.name, "parents": 2}}

    def variants(self) -> Mapping[str, Mapping[str, Any]]:
        return {
            "mutate": self.with_options(mutate=1.0),
            "resample": self.with_options(resample=1.0),
            "factors": self.with_options(factors=[0.01, 100.0]),
            "parents": self.with_options(parents=1),
        }


class TestRandomSearch(MixedLineagesContract, AnyPopulationContract):
    name = "random"

    def variants(self) -> Mapping[str, Mapping[str, Any]]:
        return {}


class TestContinuation(MixedLineagesContract, AnyPopulationContract):
    name = "continue"

    def variants(self) -> Mapping[str, Mapping[str, Any]]:
        return {}


class TestGridSearch(IndependentLineagesContract, RestrictedPopulationContract):
    name = "grid"

    def tables(self) -> dict[str, Any]:
        space = {
            "lr": {"float": [1e-4, 1.0], "log": True},
            "optimizer": {"choice": ["sgd", "adam"]},
            "momentum": {"float": [0.0, 1.0], "when": {"optimizer": "sgd"}},
            "width": 64,
        }
        evolution = {"strategy": self.name, "points": 3}
        return {"space": space, "evolution": evolution, "population": 12, "budget": {"generations": 5}}

    def variants(self) -> Mapping[str, Mapping[str, Any]]:
        return {"points": {**self.with_options(points=2), "population": 6}}


class OptunaContract(IndependentLineagesContract, AnyPopulationContract):
    name = "optuna"
    sampler: str

    def tables(self) -> dict[str, Any]:
        return {"evolution": {"strategy": self.name, "sampler": self.sampler}, "population": 12, "budget": {"generations": 5}}

    def variants(self) -> Mapping[str, Mapping[str, Any]]:
        return {"sampler": self.with_options(sampler="random" if self.sampler == "qmc" else "qmc")}


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


def test_every_installed_strategy_has_a_contract_here() -> None:
    contracts = {each.name for each in globals().values() if isinstance(each, type) and hasattr(each, "name")}
    assert contracts | {"replay"} == set(STRATEGIES.names())  # replay: tests/unit/studies/test_replay.py trains its lineages
