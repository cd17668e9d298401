"""The definition of a study: kept as JSON without loss, and changed only in what may change."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broodline.config.fields import InvalidValue, duration
from broodline.config.study import changed, dump, parse, study_from
from broodline.core.objective import Goal, Objective
from broodline.core.parameters import Choice, Fixed, Float, Int, Ordered, Param
from broodline.core.space import Space
from broodline.core.study import Budget, Evolution, Limits, Retention, Stopping, StudyConfig
from broodline.errors import StudyFileError

DOCUMENT: dict[str, Any] = {
    "name": "digits",
    "trial_steps": 200,
    "population": 20,
    "objective": {"accuracy": "maximize"},
    "space": {"lr": {"float": [1e-5, 1.0], "log": True}, "optimizer": {"choice": ["sgd", "adam"]}, "width": 64},
}
STUDY = parse(DOCUMENT, "study.toml")

scalars = st.none() | st.booleans() | st.integers(-100, 100) | st.text(max_size=3)
lists = st.lists(scalars, min_size=2, max_size=4, unique_by=repr).filter(
    lambda v: len({(type(x) is bool, x) for x in v}) == len(v)
)
flags = st.booleans()
params: st.SearchStrategy[Param] = st.one_of(
    st.builds(Float, st.floats(0.1, 1), st.floats(2, 3), log=flags, init=st.none() | st.just([1, 2]), mutate=flags),
    st.builds(Float, st.floats(-1, 0), st.floats(0.5, 0.99), scale=st.none() | st.just("1-x")),
    st.builds(Int, st.integers(1, 5), st.integers(6, 9), log=flags, when=st.just({"optimizer": "sgd"})),
    st.builds(Ordered, lists, when=st.just({"optimizer": ["sgd", "adam"]}), mutate=flags),
    st.builds(Choice, lists, mutate=flags),
    st.builds(Fixed, scalars | st.lists(scalars) | st.dictionaries(st.text(), scalars)),
)
several = st.none() | st.integers(1, 99)
studies = st.builds(
    StudyConfig,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True),
    trial_steps=st.integers(1, 2**53),
    population=st.integers(10, 50),
    workers=st.integers(1, 50),
    seed=st.integers(0, 2**53),
    objective=st.builds(
        lambda goal, weight, mean: Objective(goals=(Goal(metric="a", goal=goal, weight=weight, mean_of_last=mean),)),
        st.sampled_from(["maximize", "minimize"]),
        st.none() | st.floats(0.1, 10),
        st.integers(1, 5),
    ),
    space=st.lists(params, max_size=4).map(
        lambda each: Space({"optimizer": Choice(["sgd", "adam"]), **{f"p{i}": param for i, param in enumerate(each)}})
    ),
    evolution=st.builds(
        Evolution,
        strategy=st.sampled_from(["generational", "of_a_plugin"]),
        mutate=st.floats(0, 1),
        resample=st.floats(0, 1),
        factors=st.lists(st.floats(1.1, 3), min_size=1).map(tuple),
        parents=st.integers(1, 9),
    ),
    budget=st.builds(Budget, time=st.none() | st.floats(0.1, 1e6), trials=several, target=st.none() | st.floats(-1, 1)),
    limits=st.builds(Limits, retries=st.integers(0, 3), max_failures=several, lease=st.floats(0.1, 60)),
    stopping=st.none() | st.builds(Stopping, margin=st.floats(0, 9), burn_in=st.integers(0, 99), min_trials=st.integers(1, 9)),
    checkpoints=st.builds(Retention, keep_every=several, at=st.lists(st.integers(1, 99)).map(tuple), keep_all=flags),
)


@given(studies)
def test_a_study_survives_the_store(study: StudyConfig) -> None:
    again = study_from(json.dumps(dump(study), allow_nan=False))
    assert again == study
    assert changed(study, again) == []


@pytest.mark.parametrize("weights", [(), (1.0,), (1.0, 2.0)])
def test_trials_are_stopped_early_by_one_metric_or_a_weighted_sum(weights: tuple[float, ...]) -> None:
    goals: dict[str, Any] = {f"m{index}": {"goal": "maximize", "weight": weight} for index, weight in enumerate(weights)}
    study = parse(DOCUMENT | {"objective": goals or {"m": "minimize"}, "stopping": {"rule": "median"}}, "study.toml")
    assert study.stopping == Stopping(rule="median", margin=0.0, burn_in=0, min_trials=3)
    assert parse(DOCUMENT, "study.toml").stopping is None


def test_the_store_keeps_the_defaults_too() -> None:
    assert dump(STUDY)["evolution"] == {
        "strategy": "initiator",
        "mutate": 1 / 3,
        "resample": 0.0,
        "crossover": 0.0,
        "factors": [0.8, 1.2],
    }


def test_pythons_arguments_make_the_same_study() -> None:
    document = DOCUMENT | {
        "space": {"lr": Float(1e-5, 1.0, log=True), "optimizer": Choice(["sgd", "adam"]), "width": 64},
        "budget": Budget(time="1h"),  # type: ignore[arg-type]
        "evolution": Evolution(),
        "checkpoints": Retention(at=(5,)),
        "stopping": Stopping(margin=0.1),
    }
    study = parse(document, "Study(...)")
    assert study == replace(STUDY, budget=Budget(time=3600), checkpoints=Retention(at=(5,)), stopping=Stopping(margin=0.1))
    assert parse(DOCUMENT | {"space": study.space, "objective": study.objective}, "Study(...)") == STUDY


def test_a_mistake_in_pythons_arguments_is_told_as_one_in_a_file() -> None:
    with pytest.raises(StudyFileError, match=r"^Study\(\.\.\.\): \[budget\] time: must be a time above zero"):
        parse(DOCUMENT | {"budget": Budget(time="soon")}, "Study(...)")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "allowed",
    [
        {"workers": 9},
        {"budget": {"time": "3h", "trials": 9}},
        {"checkpoints": {"keep_best": 4, "keep_all": True}},
        {"train": {"retries": 3, "max_failures": 2}},
        {"engine": {"max_lost": 1, "lease": 5}},
        {"stopping": {"rule": "median", "burn_in": 100}},
        {"space": DOCUMENT["space"] | {"lr": {"float": [1e-6, 2.0], "log": True}}},
        {"space": DOCUMENT["space"] | {"optimizer": {"choice": ["lion", "sgd", "adam"]}}},
        {"space": dict(reversed(DOCUMENT["space"].items()))},
    ],
)
def test_what_may_change_is_not_told(allowed: dict[str, Any]) -> None:
    assert changed(STUDY, parse(DOCUMENT | allowed, "study.toml")) == []


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        ({"name": "other"}, "name: 'digits' -> 'other'"),
        ({"trial_steps": 100}, "trial_steps: 200 -> 100"),
        ({"population": 10}, "population: 20 -> 10"),
        ({"seed": 1}, "seed: 0 -> 1"),
        (
            {"objective": {"loss": "minimize"}},
            'objective: {"accuracy": {"goal": "maximize", "mean_of_last": 1}} -> '
            '{"loss": {"goal": "minimize", "mean_of_last": 1}}',
        ),
        ({"evolution": {"mutate": 0.5}}, f"[evolution] mutate: {1 / 3!r} -> 0.5"),
        ({"evolution": {"strategy": "random"}}, "[evolution] strategy: 'initiator' -> 'random'"),
        ({"space": DOCUMENT["space"] | {"lr": {"int": [1, 8]}}}, "[space] lr: type float -> int"),
        ({"space": DOCUMENT["space"] | {"width": 65}}, "[space] width: 64 -> 65"),
        ({"space": DOCUMENT["space"] | {"more": 1}}, "[space] more: added"),
    ],
)
def test_what_may_not_change_is_told_with_the_difference(refused: dict[str, Any], told: str) -> None:
    assert changed(STUDY, parse(DOCUMENT | refused, "study.toml")) == [told]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("1h 30m", 5400), ("1h30m", 5400), ("45s", 45), ("2d", 172800), ("0.5 h", 1800), (90, 90), (0.25, 0.25)],
)
def test_a_duration_is_a_text_or_seconds(text: str | float, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "value", ["", "30", "m", "1h30", "-5s", "0s", "1w", "1e3s", 0, -1, True, None, float("nan"), float("inf")]
)
def test_anything_else_is_no_duration(value: Any) -> None:
    with pytest.raises(InvalidValue, match="30m"):
        duration(value)


def test_the_ranges_of_a_grid_can_not_grow() -> None:
    grid = DOCUMENT | {"evolution": {"strategy": "grid", "points": 5}, "population": 5, "budget": {"generations": 1}}
    narrow, wide = (parse(grid | {"space": {"lr": {"float": [0.1, high]}}}, "study.toml") for high in (1.0, 2.0))
    assert changed(narrow, narrow) == []
    assert changed(narrow, wide) == ["space: the configurations of strategy 'grid' follow from the ranges, so these can't grow"]
