"""The search space: no params ever leave it, every value can be reached, and each type mutates by its own rule."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broodline.core.parameters import Choice, Fixed, Float, Int, Ordered, Param
from broodline.core.space import Space
from broodline.core.trial import Change
from broodline.errors import SpaceError

FACTORS = (0.8, 1.2)
UP, DOWN = (1.2,), (0.8,)


@st.composite
def linear_floats(draw: st.DrawFn) -> Float:
    low, high = sorted(draw(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2)))
    assume(high - low > 1e-6)
    return Float(low, high)


@st.composite
def log_floats(draw: st.DrawFn) -> Float:
    low = draw(st.floats(1e-12, 1e3))
    return Float(low, low * draw(st.floats(1.01, 1e9)), log=True)


@st.composite
def floats_near_one(draw: st.DrawFn) -> Float:
    furthest = draw(st.floats(1e-6, 2.0))
    return Float(1 - furthest, 1 - furthest / draw(st.floats(1.5, 1e4)), scale="1-x")


@st.composite
def ints(draw: st.DrawFn) -> Int:
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -1000, 1000))
    return Int(low, low + draw(st.integers(1, 10_000)), log=log)


VALUES = st.lists(st.text() | st.integers() | st.booleans() | st.none(), min_size=2, max_size=8, unique_by=repr)
numbers = linear_floats() | log_floats() | floats_near_one() | ints()
params = numbers | VALUES.map(Ordered) | VALUES.map(Choice)
seeds = st.integers(0, 2**32)


@given(params, seeds)
def test_a_sample_never_leaves_the_range(param: Param, seed: int) -> None:
    rng = Random(seed)
    for first in (True, False):
        assert param.contains(param.sample(rng, first=first))


@given(params, seeds, st.lists(st.floats(0.01, 100), min_size=1))
def test_a_mutation_never_leaves_the_range(param: Param, seed: int, factors: list[float]) -> None:
    rng = Random(seed)
    value: Any = param.sample(rng)
    for _ in range(20):
        value = param.mutated(value, rng, factors)
        assert param.contains(value)


@given(numbers, seeds)
def test_mutations_reach_both_ends_of_a_range_from_anywhere(param: Any, seed: int) -> None:
    ends: list[tuple[Callable[..., Any], float]] = [(max, param.high), (min, param.low)]
    for further, end in ends:
        value: Any = param.sample(Random(seed))
        for _ in range(1000):
            value = further([param.mutated(value, Random(0), factor) for factor in (UP, DOWN)])
        assert value == end


@given(st.integers(-20, 20), st.integers(1, 12), st.booleans(), seeds)
def test_every_integer_of_a_range_is_drawn(low: int, width: int, log: bool, seed: int) -> None:
    low = abs(low) + 1 if log else low
    param, rng = Int(low, low + width, log=log), Random(seed)
    assert {param.sample(rng) for _ in range(3000)} == set(range(low, low + width + 1))


@pytest.mark.parametrize("param", [Float(-3, 5), Float(1e-5, 1, log=True), Float(0.9, 0.9999, scale="1-x")])
def test_every_part_of_a_float_range_is_drawn_as_often_on_its_own_scale(param: Float) -> None:
    def location(x: float) -> float:
        return math.log(x) if param.log else -math.log(1 - x) if param.scale else x

    rng = Random(0)
    low, high = location(param.low), location(param.high)
    tenths = Counter(int(10 * (location(param.sample(rng)) - low) / (high - low)) for _ in range(5000))
    assert all(400 < tenths[tenth] < 600 for tenth in range(10))


def test_the_ends_of_a_logarithmic_int_range_are_drawn_as_often_as_their_share_of_it() -> None:
    rng, param = Random(0), Int(1, 4, log=True)
    drawn = Counter(param.sample(rng) for _ in range(4000))
    for value in range(1, 5):
        assert drawn[value] / 4000 == pytest.approx(math.log((value + 0.5) / (value - 0.5), 9), abs=0.03)


@given(VALUES, seeds)
def test_every_value_of_a_list_is_drawn_and_reached_by_mutation(values: list[Any], seed: int) -> None:
    for param in (Ordered(values), Choice(values)):
        rng = Random(seed)
        assert {repr(param.sample(rng)) for _ in range(500)} == set(map(repr, values))
        reached, value = set(), values[0]
        for _ in range(5000):
            value = param.mutated(value, rng, FACTORS)
            reached.add(repr(value))
        assert reached == set(map(repr, values))


@given(log_floats(), seeds)
def test_a_logarithmic_float_mutates_by_a_factor_and_is_clipped(param: Float, seed: int) -> None:
    value = param.sample(Random(seed))
    assert param.mutated(value, Random(0), UP) == min(value * 1.2, param.high)
    assert param.mutated(value, Random(0), DOWN) == max(value * 0.8, param.low)


@given(floats_near_one(), seeds)
def test_a_float_near_one_mutates_its_distance_from_one(param: Float, seed: int) -> None:
    value = param.sample(Random(seed))
    assert param.mutated(value, Random(0), UP) == max(1 - (1 - value) * 1.2, param.low)
    assert param.mutated(value, Random(0), DOWN) == min(1 - (1 - value) * 0.8, param.high)


@given(linear_floats(), seeds)
def test_a_linear_float_mutates_by_a_factor_and_by_at_least_two_percent_of_the_width(param: Float, seed: int) -> None:
    value = param.sample(Random(seed))
    least = 0.02 * (param.high - param.low)
    for factors in (UP, DOWN):
        moved = param.mutated(value, Random(0), factors)
        if param.low < moved < param.high:
            assert moved == value * factors[0] or abs(moved - value) == pytest.approx(least)
            assert abs(moved - value) >= least * (1 - 1e-6)


@given(ints(), seeds)
def test_an_int_mutates_by_at_least_one_in_the_direction_drawn(param: Int, seed: int) -> None:
    value = param.sample(Random(seed))
    for factors in (UP, DOWN):
        moved = param.mutated(value, Random(0), factors)
        assert isinstance(moved, int)
        if param.low < moved < param.high:
            away = abs(moved) > abs(value) if value else moved > 0
            assert moved != value
            assert away == (factors == UP) or value * moved <= 0
            assert abs(moved - value * factors[0]) <= max(1.5, 0.02 * (param.high - param.low) + 0.5)


def test_zero_is_no_trap() -> None:
    assert Float(0, 1).mutated(0.0, Random(0), UP) == pytest.approx(0.02)
    assert Float(-1, 1).mutated(0.0, Random(0), DOWN) == pytest.approx(-0.04)
    assert Int(0, 8).mutated(0, Random(0), UP) == 1


def test_int_one_is_no_trap() -> None:
    assert Int(1, 8).mutated(1, Random(0), UP) == 2
    assert Int(1, 512, log=True).mutated(1, Random(0), UP) == 2
    assert Int(1, 512, log=True).mutated(2, Random(0), DOWN) == 1
    assert Int(1, 512).mutated(1, Random(0), UP) == 11


def test_a_value_at_its_bound_may_stay_there() -> None:
    assert Float(1e-5, 1, log=True).mutated(1.0, Random(0), UP) == 1.0
    assert Int(1, 8).mutated(8, Random(0), UP) == 8


def test_an_ordered_one_moves_to_the_next_lower_or_higher_and_at_an_end_to_the_only_neighbour() -> None:
    param, rng = Ordered([32, 64, 128, 256]), Random(0)
    seen = {value: {param.mutated(value, rng, FACTORS) for _ in range(100)} for value in param.values}
    assert seen == {32: {64}, 64: {32, 128}, 128: {64, 256}, 256: {128}}


def test_a_choice_of_texts_is_drawn_again_and_may_stay() -> None:
    param, rng = Choice(["none", "flip", "crop"]), Random(0)
    assert {param.mutated("flip", rng, FACTORS) for _ in range(100)} == {"none", "flip", "crop"}


def test_true_is_not_one() -> None:
    param = Choice([1, True, "1"])
    assert param.contains(True)
    assert not Choice([1, 2]).contains(True)
    assert not Int(0, 1).contains(True)
    assert not Float(0, 1).contains(True)


# The space as a whole

RICH = Space(
    {
        "momentum": Float(0, 1, when={"optimizer": ["sgd", "rmsprop"]}, init=[0.5, 0.9]),
        "nesterov": Choice([True, False], when={"optimizer": "sgd", "layers": [1, 2, 3]}),
        "optimizer": Choice(["sgd", "adam", "rmsprop"]),
        "lr": Float(1e-5, 1, log=True, init=[1e-4, 1e-3]),
        "gamma": Float(0.9, 0.9999, scale="1-x"),
        "layers": Int(1, 8),
        "batch": Ordered([16, 32, 64]),
        "depth": Int(1, 8, mutate=False),
        "width": 64,
        "warm": Float(0, 1, mutate=False, when={"batch": 16}),
    }
)


def child(
    space: Space,
    parent: dict[str, Any],
    rng: Random,
    *,
    other: dict[str, Any] | None = None,
    mutate: float = 0.0,
    resample: float = 0.0,
    crossover: float = 0.0,
    factors: Sequence[float] = FACTORS,
) -> tuple[dict[str, Any], dict[str, Change]]:
    return space.evolve(parent, other, rng, mutate=mutate, resample=resample, crossover=crossover, factors=factors)


probabilities = st.sampled_from([0.0, 0.3, 1.0])


@given(seeds, probabilities, probabilities, probabilities)
def test_params_stay_in_the_space_along_any_lineage(seed: int, mutate: float, resample: float, crossover: float) -> None:
    rng = Random(seed)
    params, other = RICH.draw(rng)[0], RICH.draw(rng)[0]
    assert RICH.problems(params) == []
    for _ in range(30):
        before = params
        params, changes = child(RICH, params, rng, other=other, mutate=mutate, resample=resample, crossover=crossover)
        assert RICH.problems(params) == []
        assert params.keys() == changes.keys()
        for name, change in changes.items():
            if change is Change.KEPT:
                assert params[name] == before[name]
            if change is Change.CROSSED:
                assert params[name] == other[name]
            assert (change is Change.DRAWN) <= (name not in before)


@given(seeds)
def test_nothing_happens_where_every_knob_is_zero(seed: int) -> None:
    parent, _ = RICH.draw(Random(seed))
    other, _ = RICH.draw(Random(seed + 1))
    assert child(RICH, parent, Random(seed), other=other) == (parent, dict.fromkeys(parent, Change.KEPT))


@given(seeds)
def test_the_same_seed_makes_the_same_child(seed: int) -> None:
    parent, other = RICH.draw(Random(seed))[0], RICH.draw(Random(seed + 1))[0]
    one, two = (child(RICH, parent, Random(seed), other=other, mutate=0.5, crossover=0.5) for _ in range(2))
    assert one == two


def test_a_plain_value_is_fixed_and_never_changes() -> None:
    assert RICH.params["width"] == Fixed(64)
    params, changes = RICH.draw(Random(0))
    assert (params["width"], changes["width"]) == (64, Change.KEPT)
    params, changes = child(RICH, params, Random(0), other=params, mutate=1, crossover=1)
    assert (params["width"], changes["width"]) == (64, Change.KEPT)


def test_what_is_inherited_is_never_mutated_resampled_or_crossed() -> None:
    rng = Random(0)
    parent, other = RICH.draw(rng)[0] | {"depth": 3}, RICH.draw(rng)[0] | {"depth": 7}
    for _ in range(50):
        parent, changes = child(RICH, parent, rng, other=other, mutate=1, resample=0.5, crossover=0.5)
        assert (parent["depth"], changes["depth"]) == (3, Change.KEPT)


@given(seeds)
def test_init_narrows_the_draw_of_generation_zero(seed: int) -> None:
    params, changes = RICH.draw(Random(seed))
    assert 1e-4 <= params["lr"] <= 1e-3
    assert changes["lr"] is Change.DRAWN
    assert 0.5 <= params.get("momentum", 0.5) <= 0.9


def test_init_narrows_no_later_draw() -> None:
    space, rng = Space({"lr": Float(0, 1, init=[0, 0.1]), "opt": Choice(["a", "b"], init=["a"])}), Random(0)
    drawn = [child(space, {"lr": 0.05, "opt": "a"}, rng, mutate=1, resample=1)[0] for _ in range(200)]
    assert max(params["lr"] for params in drawn) > 0.9
    assert {params["opt"] for params in drawn} == {"a", "b"}
    assert {space.draw(rng)[0]["opt"] for _ in range(50)} == {"a"}


def test_a_conditional_exists_only_while_its_condition_holds() -> None:
    rng = Random(0)
    for _ in range(200):
        params, _ = RICH.draw(rng)
        assert ("momentum" in params) == (params["optimizer"] in ("sgd", "rmsprop"))
        assert ("nesterov" in params) == (params["optimizer"] == "sgd" and params["layers"] <= 3)
    assert list(RICH.params).index("optimizer") < list(RICH.params).index("momentum")


def test_a_conditional_that_comes_to_exist_is_drawn_from_its_full_range() -> None:
    space = Space({"opt": Choice(["sgd", "adam"]), "momentum": Float(0, 1, when={"opt": "sgd"}, init=[0.5, 0.6])})
    rng, born = Random(0), []
    for _ in range(400):
        params, changes = child(space, {"opt": "adam"}, rng, mutate=1)
        if params["opt"] == "sgd":
            assert changes == {"opt": Change.MUTATED, "momentum": Change.DRAWN}
            born.append(params["momentum"])
    assert min(born) < 0.1
    assert max(born) > 0.9


def test_a_conditional_vanishes_with_its_condition() -> None:
    space = Space({"opt": Choice(["sgd", "adam"]), "momentum": Float(0, 1, when={"opt": "sgd"})})
    vanished = child(space, {"opt": "sgd", "momentum": 0.5}, Random(0), other={"opt": "adam"}, crossover=1)
    assert vanished == ({"opt": "adam"}, {"opt": Change.CROSSED})


def test_a_condition_on_a_conditional_holds_only_while_that_one_exists() -> None:
    space = Space({"a": Choice([0, 1]), "b": Choice([0, 1], when={"a": 1}), "c": Float(0, 1, when={"b": 1})})
    rng = Random(0)
    shapes = {tuple(sorted(space.draw(rng)[0])) for _ in range(100)}
    assert shapes == {("a",), ("a", "b"), ("a", "b", "c")}
    assert space.problems({"a": 0, "c": 0.5}) == ["c: exists although its condition does not hold"]


def test_what_is_crossed_takes_with_it_what_depends_on_it() -> None:
    space = Space(
        {
            "opt": Choice(["sgd", "adam"]),
            "momentum": Float(0, 1, when={"opt": "sgd"}),
            "damped": Choice([False, True], when={"opt": "sgd"}),
            "by": Float(0, 1, when={"damped": True}),
            "lr": Float(1e-5, 1, log=True),
        }
    )
    parent = {"opt": "sgd", "momentum": 0.1, "damped": False, "lr": 0.1}
    other = {"opt": "sgd", "momentum": 0.9, "damped": True, "by": 0.7, "lr": 0.2}
    rng, taken = Random(0), 0
    for _ in range(100):
        params, changes = child(space, parent, rng, other=other, crossover=0.5, mutate=0.5)
        if changes["opt"] is Change.CROSSED:
            assert {name: params[name] for name in ("opt", "momentum", "damped", "by")} == {
                name: other[name] for name in ("opt", "momentum", "damped", "by")
            }
            assert {changes[name] for name in ("momentum", "damped", "by")} == {Change.CROSSED}
            taken += 1
    assert 20 < taken < 80


def test_nothing_is_crossed_without_another_contestant() -> None:
    parent, _ = RICH.draw(Random(0))
    assert Change.CROSSED not in child(RICH, parent, Random(0), crossover=1)[1].values()


def test_every_parameter_is_drawn_for_apart() -> None:
    space = Space({"a": Float(0, 1), "b": Float(0, 1)})
    rng = Random(0)
    assert all(len(set(space.draw(rng)[0].values())) == 2 for _ in range(20))
    seen: Counter[tuple[int, int]] = Counter()
    for _ in range(900):
        params, _ = child(space, {"a": 0.5, "b": 0.5}, rng, mutate=2 / 3)
        seen[(round(10 * params["a"]), round(10 * params["b"]))] += 1
    assert len(seen) == 9  # up, down and kept, each with each
    assert min(seen.values()) > 60


@pytest.mark.parametrize(("mutate", "resample"), [(1 / 3, 0.0), (1.0, 0.25), (0.5, 0.5)])
def test_the_knobs_are_probabilities_for_each_parameter(mutate: float, resample: float) -> None:
    space, rng = Space({"a": Float(0, 1)}), Random(0)
    counts = Counter(child(space, {"a": 0.5}, rng, mutate=mutate, resample=resample)[1]["a"] for _ in range(3000))
    assert counts[Change.KEPT] / 3000 == pytest.approx(1 - mutate, abs=0.04)
    assert counts[Change.RESAMPLED] / 3000 == pytest.approx(mutate * resample, abs=0.04)


def test_problems_name_what_is_wrong_with_params() -> None:
    space = Space({"opt": Choice(["sgd", "adam"]), "lr": Float(0, 1), "m": Float(0, 1, when={"opt": "sgd"})})
    assert space.problems({"opt": "sgd", "lr": 0.5, "m": 0.5}) == []
    assert space.problems({"opt": "adam", "lr": 2, "m": 0.5, "x": 1}) == [
        "x: unknown parameter",
        "lr: 2 is not in its range",
        "m: exists although its condition does not hold",
    ]
    assert space.problems({"opt": "sgd", "lr": math.nan}) == ["lr: nan is not in its range", "m: is missing"]


# What may not be written

BAD: list[tuple[Callable[[], object], str, str]] = [
    (lambda: Float(1, 1), "float", "is empty"),
    (lambda: Float(2, 1), "float", "is empty"),
    (lambda: Float(0, math.nan), "float", "must be finite numbers, got nan"),
    (lambda: Float(0, math.inf), "float", "must be finite numbers, got inf"),
    (lambda: Float(0, 10**400), "float", "must be finite numbers"),
    (lambda: Float(-1.7e308, 1.7e308), "float", "too wide"),
    (lambda: Float(False, 1), "float", "must be finite numbers, got False"),
    (lambda: Float(0, 1, log=True), "float", "must start above 0"),
    (lambda: Float(0, 1, scale="1-x"), "float", "must end below 1"),
    (lambda: Float(0.5, 0.9, log=True, scale="1-x"), "scale", "must not be set together with"),
    (lambda: Float(0.5, 0.9, scale="log"), "scale", '"1-x"'),
    (lambda: Float(0, 1, init=[0.5, 2]), "init", "part of the range"),
    (lambda: Float(0, 1, init=[0.5]), "init", "[low, high]"),
    (lambda: Float(0, 1, when={}), "when", "must name parameters"),
    (lambda: Int(0.5, 2), "int", "must be integers, at most 2**53, got 0.5"),  # type: ignore[arg-type]
    (lambda: Int(0, 2**60), "int", "2**53"),
    (lambda: Int(0, 8, log=True), "int", "must start at 1"),
    (lambda: Int(0, 8, mutate=0), "mutate", "true or false"),  # type: ignore[arg-type]
    (lambda: Ordered([1]), "ordered", "at least two"),
    (lambda: Ordered([]), "ordered", "list of values"),
    (lambda: Ordered("abc"), "ordered", "list of values"),
    (lambda: Choice([1, 1.0]), "choice", "listed twice"),
    (lambda: Choice([1, math.inf]), "choice", "finite number"),
    (lambda: Choice([1, [2]]), "choice", "must be strings, finite numbers or booleans, got [2]"),
    (lambda: Choice([1, 2], init=[3]), "init", "must be some of 1, 2, got 3"),
    (lambda: Fixed(math.nan), "fixed", "must be a JSON value"),
    (lambda: Space({}), "", "at least one parameter"),
    (lambda: Space({"lr": [0, 1]}), "lr", "must be a parameter type"),
    (lambda: Space({"a": Float(0, 1, when={"b": 1})}), "a.when.b", "unknown parameter 'b'"),
    (lambda: Space({"a": Float(0, 1), "b": Int(0, 1, when={"a": 1})}), "b.when.a", "can't be on a float"),
    (
        lambda: Space({"a": Choice(["x", "y"]), "b": Int(0, 1, when={"a": "z"})}),
        "b.when.a",
        "one of 'x', 'y', got 'z'",
    ),
    (lambda: Space({"a": Int(0, 1, when={"b": 1}), "b": Int(0, 1, when={"a": 1})}), "a.when", "circle"),
    (lambda: Space({"a": Int(0, 1, when={"a": 1})}), "a.when", "circle"),
]


@pytest.mark.parametrize(("build", "key", "fragment"), BAD)
def test_a_mistake_is_refused_with_its_place(build: Callable[[], object], key: str, fragment: str) -> None:
    with pytest.raises(SpaceError) as raised:
        build()
    assert raised.value.key == key
    assert fragment in raised.value.problem


# What may change

LR = Float(1e-4, 1e-1, log=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (LR, Float(1e-5, 1.0, log=True)),
        (LR, LR),
        (Int(1, 8), Int(0, 9)),
        (Ordered([2, 4]), Ordered([1, 2, 3, 4])),
        (Choice(["a", "b"]), Choice(["c", "b", "a"])),
    ],
)
def test_a_range_may_widen(old: Param, new: Param) -> None:
    assert Space({"lr": old}).widened_by(Space({"lr": new})) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (LR, Int(1, 8), "lr: type float -> int"),
        (LR, Float(1e-3, 1.0, log=True), "lr: range [0.0001, 0.1] -> [0.001, 1.0] is narrower"),
        (LR, Float(1e-4, 1e-1), "lr: log True -> False"),
        (Ordered([1, 2]), Ordered([2, 1]), "lr: values [1, 2] -> [2, 1]"),
        (Choice([1, 2]), Choice([1, 3]), "lr: values [1, 2] -> [1, 3]"),
        (Fixed(1), Fixed(2), "lr: 1 -> 2"),
        (Int(1, 8), Int(1, 8, mutate=False), "lr: mutate True -> False"),
    ],
)
def test_any_other_change_is_told(old: Param, new: Param, told: str) -> None:
    assert Space({"lr": old}).widened_by(Space({"lr": new})) == [told]


def test_params_neither_come_nor_go() -> None:
    assert Space({"a": 1, "b": 2}).widened_by(Space({"b": 2, "c": 3})) == ["a: removed", "c: added"]


def test_a_mutation_or_a_resampling_that_gives_the_same_value_again_is_recorded_as_kept() -> None:
    space, rng = Space({"layers": Int(1, 2), "width": Int(1, 100)}), Random(0)
    seen: set[tuple[Change, bool]] = set()
    for _ in range(200):
        parent = {"layers": 1, "width": rng.randrange(1, 101)}
        params, changes = child(space, parent, rng, mutate=0.8, resample=0.5)
        seen |= {(changes[name], params[name] == parent[name]) for name in params}
    assert seen == {(Change.KEPT, True), (Change.MUTATED, False), (Change.RESAMPLED, False)}
