"""The table [evolution]: the keys are those that the strategy declares, of broodline's and of other packages' strategies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from broodline.config.evolution import options_table, rule_of
from broodline.config.fields import InvalidValue
from broodline.config.study import changed, dump, parse, study_from
from broodline.core.options import Option
from broodline.core.study import Evolution
from broodline.errors import StudyFileError, UsageError
from broodline.strategies.registry import load_strategy

DOCUMENT: dict[str, Any] = {
    "name": "digits",
    "trial_steps": 10,
    "population": 4,
    "objective": {"accuracy": "maximize"},
    "space": {"lr": {"float": [1e-5, 1.0], "log": True}},
}
PAGE = Path(__file__).resolve().parents[3] / "docs" / "studyfile.md"

# The definition that version 0.1.0 stored: all options of all strategies that were not None.
SHARED = {"mutate": 1 / 3, "resample": 0.0, "crossover": 0.0, "factors": [0.8, 1.2]}


def evolution(**table: Any) -> Evolution:
    return parse({**DOCUMENT, "evolution": table}, "study.toml").evolution


def stored(**table: Any) -> str:
    return json.dumps({**dump(parse(DOCUMENT, "study.toml")), "evolution": table})


def test_options_that_are_left_out_have_their_defaults() -> None:
    assert evolution() == Evolution(strategy="initiator", mutate=1 / 3, resample=0.0, factors=(0.8, 1.2), crossover=0.0)
    assert evolution(strategy="random") == Evolution(strategy="random")


def test_a_key_of_another_strategy_is_refused_with_the_keys_of_this_one() -> None:
    with pytest.raises(StudyFileError) as refused:
        evolution(strategy="generational", parents=2, crossover=0.5)
    assert str(refused.value) == (
        "study.toml: [evolution] crossover: strategy 'generational' has no such option; "
        "it takes the options mutate, resample, factors, parents"
    )


@pytest.mark.parametrize("strategy", ["random", "continue", "replay"])
@pytest.mark.parametrize("option", [{"mutate": 0.5}, {"resample": 0.5}, {"factors": [0.5]}, {"parents": 2}])
def test_a_strategy_without_options_refuses_all(strategy: str, option: dict[str, Any]) -> None:
    with pytest.raises(StudyFileError, match="has no such option; it takes no options"):
        evolution(strategy=strategy, **option)


def test_python_refuses_like_a_file() -> None:
    with pytest.raises(StudyFileError, match=r"\[evolution\] parents: strategy 'initiator' has no such option"):
        parse({**DOCUMENT, "evolution": Evolution(parents=2)}, "Study(...)")
    assert parse({**DOCUMENT, "evolution": Evolution(parents=None, mutate=0.5)}, "Study(...)").evolution == evolution(mutate=0.5)


# Definitions of earlier versions


@pytest.mark.parametrize(
    ("table", "read"),
    [
        (SHARED, evolution()),
        ({"strategy": "generational", **SHARED, "parents": 2}, evolution(strategy="generational", parents=2)),
        ({"strategy": "none", **SHARED}, evolution(strategy="random")),
        ({"strategy": "alone", **SHARED}, evolution(strategy="continue")),
        ({"strategy": "replay", **SHARED}, evolution(strategy="replay")),
        ({"strategy": "random", **SHARED, "parents": None}, evolution(strategy="random")),
    ],
)
def test_a_stored_definition_is_the_same_study_although_it_holds_unused_options(table: dict[str, Any], read: Evolution) -> None:
    study = study_from(stored(**table))
    assert study.evolution == read
    assert changed(study, parse({**DOCUMENT, "evolution": read}, "study.toml")) == []


def test_a_stored_definition_of_a_strategy_that_is_not_installed_can_be_read() -> None:
    study = study_from(stored(strategy="of_a_plugin", window=[1, 2]))
    assert study.evolution == Evolution(strategy="of_a_plugin", window=(1, 2))
    with pytest.raises(UsageError, match="of_a_plugin"):
        load_strategy(study.evolution)


@pytest.mark.parametrize(("former", "name"), [("none", "random"), ("alone", "continue")])
def test_a_former_name_is_accepted_with_a_warning(former: str, name: str) -> None:
    with pytest.warns(FutureWarning, match=rf"^study\.toml: \[evolution\] strategy: '{former}' is deprecated: write '{name}'$"):
        assert evolution(strategy=former) == evolution(strategy=name)


# Strategies of other packages

PLUGIN = """
from dataclasses import dataclass
from broodline.core.options import option
from broodline.core.reproduction import child_of
from broodline.core.strategy import Strategy

@dataclass(frozen=True, slots=True, kw_only=True)
class Best(Strategy):
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Options:
        window: int = option(at_least=1, help="how many of the fittest trials are parents")
        elitist: bool = option(False, help="never pick another")
        ends: tuple[float, ...] = option((0.5,), at_least=0, at_most=1, help="two numbers")

    options: Options

    def decide(self, study, population, initiator, rng):
        return child_of(study, initiator=initiator, parent=rng.choice(population.best(self.options.window)), rng=rng)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "best_of-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: best-of\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[broodline.strategies]\nbest_of = best_of_strategy:Best\n")
    (tmp_path / "best_of_strategy.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("plugin")
def test_a_strategy_of_another_package_declares_its_options_in_the_same_way() -> None:
    read = evolution(strategy="best_of", window=3, ends=[0.1, 1])
    assert read == Evolution(strategy="best_of", window=3, elitist=False, ends=(0.1, 1.0))
    assert load_strategy(read).options.window == 3  # type: ignore[attr-defined]
    for table, problem in (
        ({}, r"\[evolution\] window: is missing; strategy 'best_of' needs it: how many .*; it must be an integer, at least 1"),
        ({"window": 0}, r"\[evolution\] window: must be an integer, at least 1, got 0"),
        ({"window": 1, "elitist": 1}, r"\[evolution\] elitist: must be true or false, got 1"),
        (
            {"window": 1, "ends": [2]},
            r"\[evolution\] ends: must be a list of values, each a finite number, at least 0, at most 1",
        ),
        ({"window": 1, "mutate": 1}, r"\[evolution\] mutate: strategy 'best_of' has no such option; .* window, elitist, ends"),
    ):
        with pytest.raises(StudyFileError, match=problem):
            evolution(strategy="best_of", **table)


# Documentation


def test_an_integer_option_has_both_of_its_bounds() -> None:
    declared = Option(
        name="k", type=int, is_list=False, default=2, help="", at_least=1, above=None, at_most=9, other_than=None, one_of=()
    )
    rule = rule_of(declared)
    assert (rule.expected, rule.read(9)) == ("an integer, at least 1, at most 9", 9)
    with pytest.raises(InvalidValue):
        rule.read(10)


def test_the_page_lists_the_options_as_the_strategies_declare_them() -> None:
    assert options_table("initiator", "generational", "optuna", "grid") in PAGE.read_text(encoding="utf-8")
