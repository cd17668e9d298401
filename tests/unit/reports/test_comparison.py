"""Comparing studies: pure functions of their trials."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from broodline.config.study import parse
from broodline.core.objective import Goal, Objective
from broodline.core.trial import Trial, TrialState
from broodline.errors import UsageError
from broodline.reports.comparison import (
    Contender,
    Curve,
    band,
    best_by_resource,
    best_by_step,
    check_comparable,
    contender,
    equal_costs,
    grouped,
)
from broodline.reports.terminal.comparison import show

MINIMIZED = Objective(goals=(Goal(metric="loss", goal="minimize"),))
MAXIMIZED = Objective(goals=(Goal(metric="accuracy"),))


def trial(number: int, score: float | None, *, start: int = 0, steps: int = 10, finished: float | None = None) -> Trial:
    """A finished trial; without a score it has failed. `score` is the fitness."""
    return Trial(
        number=number,
        member=0,
        generation=0,
        params={"lr": 0.1},
        start=start,
        steps=steps,
        state=TrialState.FAILED if score is None else TrialState.COMPLETED,
        fitness=None if score is None else (score,),
        finished=float(number) if finished is None else finished,
    )


TRIALS = st.lists(
    st.builds(
        lambda score, start, steps, finished: (score, start, steps, finished),
        st.none() | st.integers(-5, 5).map(float),
        st.integers(0, 5).map(lambda n: n * 10),
        st.integers(1, 20),
        st.integers(0, 9).map(float),
    ),
    min_size=1,
    max_size=12,
).map(lambda rows: [trial(n, s, start=b, steps=k, finished=f) for n, (s, b, k, f) in enumerate(rows)])


def study(name: str = "digits", **changes: Any) -> Any:
    base: dict[str, Any] = {
        "name": name,
        "trial_steps": 10,
        "population": 4,
        "objective": {"accuracy": "maximize"},
        "space": {"lr": {"float": [0.0, 1.0]}},
    }
    return parse({**base, **changes}, "test")


def compared(trials: list[Trial], label: str = "a", **changes: Any) -> Contender:
    best = max((each for each in trials if each.fitness), key=lambda each: each.fitness or ())
    return contender(label, study(**changes), trials, [best.evolve(start=0)])


@given(trials=TRIALS)
def test_the_best_so_far_only_improves_and_ends_at_the_best(trials: list[Trial]) -> None:
    fitnesses = [each.fitness[0] for each in trials if each.fitness]
    for objective, sign in ((MAXIMIZED, 1), (MINIMIZED, -1)):
        for curve in (best_by_resource(objective, trials), best_by_step(objective, trials)):
            values = [sign * value for _, value in curve.points]
            assert values == sorted(set(values))
            assert [cost for cost, _ in curve.points] == sorted({cost for cost, _ in curve.points})
            assert values[-1:] == ([max(fitnesses)] if fitnesses else [])


@given(trials=TRIALS)
def test_the_resource_is_the_steps_of_all_that_have_finished(trials: list[Trial]) -> None:
    curve = best_by_resource(MAXIMIZED, trials)
    assert curve.end == sum(each.steps for each in trials)
    spent = 0
    for index, each in enumerate(trials):
        spent += each.steps
        seen = [other.fitness[0] for other in trials[: index + 1] if other.fitness]
        assert curve(spent) == max(seen, default=None)


@given(trials=TRIALS, step=st.integers(0, 80))
def test_the_best_by_step_is_that_of_the_trials_that_end_there_or_before(trials: list[Trial], step: int) -> None:
    curve = best_by_step(MAXIMIZED, trials)
    ends = [each.end for each in trials if each.fitness]
    seen = [each.fitness[0] for each in trials if each.fitness and each.end <= step]
    assert curve(step) == (max(seen, default=None) if step <= max(ends, default=0) else None)


@given(trials=TRIALS.filter(lambda trials: any(each.fitness for each in trials)))
def test_trials_count_in_the_order_in_which_they_finished(trials: list[Trial]) -> None:
    ordered = sorted(trials, key=lambda each: (each.finished, each.number))
    assert compared(trials).by_resource == best_by_resource(MAXIMIZED, ordered)


def test_a_trial_that_is_not_finished_costs_nothing_yet() -> None:
    running = trial(1, None, steps=500).evolve(state=TrialState.RUNNING, finished=None)
    found = compared([trial(0, 0.5), running])
    assert (found.trials, found.by_resource.end) == (1, 10)


def test_a_minimized_metric_is_told_as_it_was_measured() -> None:
    curve = best_by_resource(MINIMIZED, [trial(0, -0.5), trial(1, -0.25), trial(2, -0.75)])
    assert curve.points == ((10, 0.5), (20, 0.25))


CURVES = st.lists(
    TRIALS.map(lambda trials: best_by_resource(MAXIMIZED, trials)).filter(lambda curve: curve.points), min_size=1, max_size=4
)


@given(curves=CURVES, cost=st.integers(0, 200))
def test_a_band_holds_all_of_its_curves_where_all_are_known(curves: list[Curve], cost: int) -> None:
    found = band(curves)
    assert found.end == min(curve.end for curve in curves)
    values = [value for curve in curves if (value := curve(cost)) is not None]
    held = [point for point in found.points if point[0] <= cost]
    if len(values) < len(curves) or cost > found.end:
        assert cost > found.end or not held
    else:
        _, low, middle, high = held[-1]
        assert (low, high) == (min(values), max(values))
        assert low <= middle <= high


def test_the_band_of_one_curve_is_that_curve() -> None:
    curve = Curve(points=((10, 1.0), (30, 2.0)), end=40)
    assert band([curve]).points == ((10, 1.0, 1.0, 1.0), (30, 2.0, 2.0, 2.0))


def test_equal_costs_are_those_that_all_reached() -> None:
    one = compared([trial(0, 1.0), trial(1, 2.0, start=10)])
    other = compared([trial(0, 1.0, steps=5), trial(1, 1.0, steps=5), trial(2, 1.0, steps=30)])
    assert equal_costs([one, other]) == (20, 20)
    assert (one.by_resource(20), other.by_resource(20), other.by_step(20)) == (2.0, 1.0, 1.0)


@pytest.mark.parametrize("width", [20, 80, 120, 200])
def test_no_number_is_cut_off_in_a_narrow_terminal(width: int) -> None:
    trials = [trial(number, 1 + number / 16, start=640 * number, steps=640) for number in range(12)]
    console = Console(file=StringIO(), width=width, force_terminal=True, color_system=None, _environ={})
    show([compared(trials, "population based"), compared(trials[:7], "random search")], console)
    assert isinstance(console.file, StringIO)
    printed = console.file.getvalue()
    for told in ("population based", "random search", "accuracy at resource 4,480", "7,680", "4,480", "1.6875", "1.375"):
        assert told in printed, told
    if width >= 80:
        assert max(map(len, printed.splitlines())) <= width


def test_studies_of_one_label_are_repeats() -> None:
    trials = [trial(0, 1.0)]
    found = grouped([compared(trials, "a"), compared(trials, "b"), compared(trials, "a")])
    assert {label: len(group) for label, group in found.items()} == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    "objective",
    [
        {"accuracy": "minimize"},
        {"loss": "maximize"},
        {"accuracy": {"goal": "maximize", "weight": 0.5}, "x": {"weight": 1.0, "goal": "maximize"}},
    ],
)
def test_studies_of_other_objectives_are_refused(objective: dict[str, Any]) -> None:
    trials = [trial(0, 1.0)]
    with pytest.raises(
        UsageError, match=r"'digits' has the objective maximize accuracy, study 'other' has m.*only studies of one"
    ):
        check_comparable([compared(trials), compared(trials, name="other", objective=objective)])


def test_of_several_goals_the_first_is_compared_and_of_a_weighted_sum_the_sum() -> None:
    several = trial(0, None).evolve(state=TrialState.COMPLETED, fitness=(0.5, -2.0))
    pareto = Objective(goals=(Goal(metric="accuracy"), Goal(metric="cost", goal="minimize")))
    weighted = Objective(goals=(Goal(metric="accuracy", weight=2.0), Goal(metric="cost", goal="minimize", weight=1.0)))
    assert best_by_resource(pareto, [several]).points == ((10, 0.5),)
    assert best_by_resource(weighted, [several.evolve(fitness=(0.7,))]).points == ((10, 0.7),)
