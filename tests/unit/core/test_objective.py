"""Fitness: one metric, weights or Pareto improvement; NaN and what is missing are the worst there is."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broodline.core.objective import Fitness, Goal, Objective, fitter, fittest, front
from broodline.core.trial import Measurement, Trial

ACCURACY = Objective(goals=(Goal(metric="accuracy"),))
LOSS = Objective(goals=(Goal(metric="loss", goal="minimize"),))
BOTH = Objective(goals=(Goal(metric="accuracy"), Goal(metric="loss", goal="minimize")))
WEIGHTED = Objective(goals=(Goal(metric="accuracy", weight=2.0), Goal(metric="loss", goal="minimize", weight=0.5)))

values = st.floats(-10, 10)
fitnesses = st.none() | st.tuples(values, values)


def reported(*metrics: dict[str, Any]) -> list[Measurement]:
    return [Measurement(step=step, metrics=each) for step, each in enumerate(metrics, 1)]


def trial(number: int, fitness: Fitness | None) -> Trial:
    return Trial(number=number, member=number, generation=0, params={}, steps=1, fitness=fitness)


def test_the_last_measurement_decides() -> None:
    assert ACCURACY.fitness(reported({"accuracy": 0.9}, {"accuracy": 0.5})) == (0.5,)


def test_of_a_metric_to_minimize_the_lower_is_fitter() -> None:
    assert LOSS.fitness(reported({"loss": 2.0})) == (-2.0,)
    assert fitter(LOSS.fitness(reported({"loss": 2.0})), LOSS.fitness(reported({"loss": 1.0})), Random(0))


def test_weights_make_one_value_of_several_metrics() -> None:
    assert WEIGHTED.fitness(reported({"accuracy": 0.5, "loss": 4})) == (2.0 * 0.5 - 0.5 * 4,)


def test_several_metrics_without_weights_stay_apart() -> None:
    assert BOTH.fitness(reported({"accuracy": 0.5, "loss": 4})) == (0.5, -4.0)


def test_the_mean_of_the_last_measurements_that_have_the_metric() -> None:
    mean = Objective(goals=(Goal(metric="a", mean_of_last=2),))
    assert mean.fitness(reported({"a": 100.0}, {"a": 1.0}, {"b": 7.0}, {"a": 2.0})) == (1.5,)
    assert mean.fitness(reported({"a": 3})) == (3.0,)
    assert mean.fitness(reported({"a": 1.0}, {"b": 7.0})) == (1.0,)
    assert mean.fitness(reported({"a": 1.0}, {"a": math.nan}, {"b": 7.0})) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "0.9", None, [0.9], 10**400])
def test_what_is_not_a_finite_number_is_no_fitness(value: Any) -> None:
    measurements = reported({"accuracy": 0.5}, {"accuracy": value})
    assert ACCURACY.fitness(measurements) is None
    problem = ACCURACY.problem(measurements)
    assert problem is not None
    assert "'accuracy'" in problem
    assert "not a finite number" in problem


def test_a_missing_metric_is_no_fitness_and_the_problem_names_those_that_are_there() -> None:
    measurements = reported({"f1": 0.5}, {"acc": 0.5, "loss": 1})
    assert ACCURACY.fitness(measurements) is None
    assert ACCURACY.problem(measurements) == "no metric 'accuracy' in the last measurement (it has: acc, loss)"


def test_the_last_measurement_that_has_the_metric_decides() -> None:
    later = reported({"accuracy": 0.4}, {"accuracy": 0.5}, {"saved": "weights.pt"})
    assert ACCURACY.fitness(later) == (0.5,)
    assert ACCURACY.problem(later) is None
    assert ACCURACY.recorded(later) == {"accuracy": 0.5, "saved": "weights.pt"}


def test_each_goal_may_be_measured_on_its_own() -> None:
    apart = reported({"loss": 4}, {"accuracy": 0.5})
    assert BOTH.fitness(apart) == (0.5, -4.0)
    assert BOTH.recorded(apart) == {"accuracy": 0.5, "loss": 4}


@given(
    st.lists(st.dictionaries(st.sampled_from("ab"), st.floats() | st.none(), max_size=2), min_size=1),
    st.integers(0, 9),
    st.integers(1, 4),
)
def test_earlier_measurements_change_nothing_where_the_later_ones_suffice(
    metrics: list[dict[str, Any]], skipped: int, mean_of_last: int
) -> None:
    objective = Objective(goals=(Goal(metric="a", mean_of_last=mean_of_last), Goal(metric="b")))
    every, later = reported(*metrics), reported(*metrics)[skipped:]
    if objective.suffices(later):
        assert objective.fitness(later) == objective.fitness(every)
        assert objective.problem(later) == objective.problem(every)


def test_no_measurement_is_no_fitness() -> None:
    assert ACCURACY.fitness([]) is None
    assert ACCURACY.problem([]) == "no measurement: the program reported no metrics"


def test_a_weighted_sum_that_overflows_is_no_fitness() -> None:
    measurements = reported({"accuracy": 1.7e308, "loss": 0})
    assert WEIGHTED.fitness(measurements) is None
    assert "weighted sum" in (WEIGHTED.problem(measurements) or "")


@given(st.lists(st.dictionaries(st.sampled_from(["accuracy", "loss"]), st.floats() | st.integers() | st.booleans() | st.none())))
def test_there_is_a_fitness_or_a_problem_and_never_both(metrics: list[dict[str, Any]]) -> None:
    for objective in (ACCURACY, LOSS, BOTH, WEIGHTED):
        fitness = objective.fitness(reported(*metrics))
        assert (fitness is None) == (objective.problem(reported(*metrics)) is not None)
        assert fitness is None or all(map(math.isfinite, fitness))


@given(values, values, st.integers())
def test_of_one_metric_the_fitter_wins_and_a_tie_keeps_the_initiator(initiator: float, opponent: float, seed: int) -> None:
    assert fitter((initiator,), (opponent,), Random(seed)) == (opponent > initiator)


@given(values, st.integers())
def test_none_is_worst(value: float, seed: int) -> None:
    assert fitter(None, (value,), Random(seed))
    assert not fitter((value,), None, Random(seed))
    assert not fitter(None, None, Random(seed))


def test_a_pareto_improvement_wins_and_equals_keep_the_initiator() -> None:
    for seed in range(20):
        assert fitter((1.0, 1.0), (1.0, 2.0), Random(seed))
        assert not fitter((1.0, 2.0), (1.0, 1.0), Random(seed))
        assert not fitter((1.0, 2.0), (1.0, 2.0), Random(seed))


def test_a_coin_decides_where_neither_improves() -> None:
    wins = sum(fitter((1.0, 2.0), (2.0, 1.0), Random(seed)) for seed in range(400))
    assert 150 < wins < 250


def test_a_target_is_reached_from_the_goals_own_side() -> None:
    assert ACCURACY.reached((0.9,), 0.9)
    assert not ACCURACY.reached((0.89,), 0.9)
    assert LOSS.reached((-0.1,), 0.1)
    assert LOSS.reached((-0.05,), 0.1)
    assert not LOSS.reached((-0.2,), 0.1)
    assert not BOTH.reached((1.0, 1.0), 0.5)


def test_the_front_is_what_nothing_improves_on_by_the_first_goal() -> None:
    trials = [trial(0, (1.0, 1.0)), trial(1, (0.0, 3.0)), trial(2, (2.0, 0.0)), trial(3, (0.5, 0.5)), trial(4, None)]
    assert [each.number for each in front(trials)] == [2, 0, 1]


@given(st.lists(fitnesses, max_size=12))
def test_a_trial_is_in_the_front_unless_another_always_beats_it(several: list[Fitness | None]) -> None:
    trials = [trial(number, fitness) for number, fitness in enumerate(several)]

    def improved_on(one: Trial) -> bool:
        return any(all(fitter(one.fitness, other.fitness, Random(seed)) for seed in range(30)) for other in trials)

    expected = {one.number for one in trials if one.fitness is not None and not improved_on(one)}
    assert {one.number for one in front(trials)} == expected


def test_of_equal_fitness_the_most_trained_is_first_and_then_the_latest() -> None:
    early, long, later = trial(0, (1.0,)), trial(1, (1.0,)).evolve(start=90), trial(2, (1.0,)).evolve(start=90)
    worse = trial(3, (0.5,)).evolve(start=200)
    assert [each.number for each in fittest([early, long, later, worse, trial(4, None)])] == [2, 1, 0, 3]
    assert [each.number for each in front([early, long, later, worse])] == [2, 1, 0]
