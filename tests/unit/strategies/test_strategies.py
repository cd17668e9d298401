"""Who the parent is, and what a child is made of, strategy by strategy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from broodline.core.population import NewTrial
from broodline.core.reproduction import draw_opponent
from broodline.core.strategy import Strategy
from broodline.core.study import Evolution
from broodline.core.trial import Change, Trial, TrialState
from broodline.errors import UsageError
from broodline.strategies.generational import Generational, ranked
from broodline.strategies.initiator import Initiator
from broodline.strategies.random_search import RandomSearch
from broodline.strategies.registry import load_strategy
from broodline.testing import study_from_tables

N = 4
PARAMS: dict[str, Any] = {"lr": 0.01, "batch": 32, "optimizer": "adam", "layers": 3, "width": 64}


def trial(number: int, fitness: float | None = 0.0, **fields: Any) -> Trial:
    """A completed trial; a failed one without fitness."""
    ended: dict[str, Any] = {"state": TrialState.FAILED}
    if fitness is not None:
        ended = {"state": TrialState.COMPLETED, "fitness": (fitness,), "checkpoint": f"checkpoints/{number:06d}.1"}
    index = {"member": number % N, "generation": number // N, "start": 10 * (number // N)}
    params = {**PARAMS, "lr": 0.001 * (number + 1)}
    return Trial(**{"number": number, "params": params, "steps": 10, "attempt": 1, **index, **ended, **fields})


@dataclass
class Members:
    """The last completed trials of each member, and one generation."""

    completed: dict[int, tuple[Trial, ...]] = field(default_factory=dict)
    generation: tuple[Trial, ...] = ()

    def last_completed(self, member: int) -> tuple[Trial, ...]:
        return self.completed.get(member, ())

    def members_with_completed(self) -> tuple[int, ...]:
        return tuple(sorted(self.completed))

    def of_generation(self, generation: int) -> tuple[Trial, ...]:
        return self.generation

    def first_pending(self) -> Trial | None:
        raise AssertionError

    def first_initiator(self, worker: str) -> Trial | None:
        raise AssertionError

    def members_started(self) -> int:
        raise AssertionError

    def leaves(self) -> tuple[Trial, ...]:
        raise AssertionError

    def open_leaves(self, worker: str, before: int | None = None) -> Iterator[Trial]:
        raise AssertionError

    def any_running(self) -> bool:
        raise AssertionError

    def best(self, count: int) -> tuple[Trial, ...]:
        raise AssertionError


def members(*trials: Trial) -> Members:
    found = Members()
    for each in trials:
        found.completed[each.member] = (each, *found.completed.get(each.member, ()))[:2]
    return found


def decided(strategy: Strategy, population: Members, initiator: Trial, seed: int = 0, **tables: Any) -> NewTrial:
    study = study_from_tables(**{"population": N, **tables})
    birth = strategy.decide(study, population, initiator, Random(seed))
    assert birth is not None
    return birth


# Opponents


def test_opponents_are_uniform_over_the_last_two_completed_of_every_other_member() -> None:
    population = members(*(trial(number) for number in (1, 2, 3, 5, 6, 9, 13)))  # member 1 has four, member 3 one
    study = study_from_tables(population=N)
    rng = Random(0)
    drawn = [draw_opponent(study, population, 0, rng) for _ in range(5000)]
    met = Counter(each.number for each in drawn if each is not None)
    assert set(met) == {2, 6, 3, 9, 13}
    assert sum((count - 1000) ** 2 / 1000 for count in met.values()) < 18.5  # chi-square with 4 degrees: 1 in 1000


def test_nobody_is_their_own_opponent() -> None:
    population = members(trial(0), trial(4), trial(1))
    study = study_from_tables(population=N)
    assert {getattr(draw_opponent(study, population, 0, Random(seed)), "number", None) for seed in range(50)} == {1}


def test_a_single_candidate_in_a_large_population_is_found() -> None:
    study = study_from_tables(population=10_000)
    only = trial(3)
    assert [draw_opponent(study, members(only), 0, Random(seed)) for seed in range(3)] == [only] * 3


def test_few_candidates_in_a_large_population_are_drawn_equally_often_and_without_a_look_at_every_member() -> None:
    looks: Counter[int] = Counter()

    class Watched(Members):
        def last_completed(self, member: int) -> tuple[Trial, ...]:
            looks[member] += 1
            return super().last_completed(member)

    candidates = [trial(1), trial(2), trial(6), trial(3)]
    population = Watched(members(*candidates).completed)
    study, rng = study_from_tables(population=10_000), Random(0)
    met = Counter(each.number for _ in range(1000) if (each := draw_opponent(study, population, 0, rng)))
    assert set(met) == {1, 2, 6, 3}
    assert sum((count - 250) ** 2 / 250 for count in met.values()) < 16.3  # chi-square with 3 degrees: 1 in 1000
    assert looks.total() < 1000 * 40


def test_a_trial_without_a_checkpoint_is_nobodys_opponent() -> None:
    population = members(trial(1, checkpoint=None), trial(2), trial(6, checkpoint=None))
    study = study_from_tables(population=N)
    assert {getattr(draw_opponent(study, population, 0, Random(seed)), "number", None) for seed in range(50)} == {2}


@pytest.mark.parametrize("population", [1, N])
def test_without_other_members_that_completed_there_is_no_opponent(population: int) -> None:
    study = study_from_tables(population=population)
    assert draw_opponent(study, members(trial(0)), 0, Random(0)) is None


# Initiator


def initiator(**options: Any) -> Strategy:
    return Initiator(options=Initiator.Options(**options))


def test_the_fitter_one_is_the_parent() -> None:
    for mine, other, parent in ((1.0, 2.0, 1), (2.0, 1.0, 0), (-2.0, -1.0, 1), (1.0, 1.0, 0)):
        birth = decided(initiator(), members(trial(0, mine), trial(1, other)), trial(0, mine))
        assert (birth.parent, birth.initiator, birth.opponent) == (parent, 0, 1)


def test_the_child_takes_the_place_of_its_initiator_and_the_step_and_params_of_its_parent() -> None:
    opponent = trial(5, 2.0, start=170)
    birth = decided(initiator(mutate=0.0), members(opponent), trial(8, 1.0))
    assert (birth.member, birth.generation, birth.start) == (0, 3, 180)
    assert birth.params == opponent.params
    assert set(birth.changes.values()) == {Change.KEPT}


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.STOPPED])
def test_who_did_not_complete_initiates_but_is_no_parent(state: TrialState) -> None:
    birth = decided(initiator(mutate=0.0), members(trial(1, -1e9)), trial(0, None, state=state))
    assert (birth.parent, birth.opponent, birth.initiator) == (1, 1, 0)


def test_a_failed_initiator_without_an_opponent_has_a_child_that_starts_from_nothing() -> None:
    birth = decided(initiator(), members(), trial(4, None))
    assert (birth.parent, birth.opponent, birth.initiator, birth.start) == (None, None, 4, 0)
    assert (birth.member, birth.generation) == (0, 2)
    assert set(birth.changes.values()) == {Change.DRAWN, Change.KEPT}


def test_an_initiator_whose_checkpoint_is_damaged_is_no_parent() -> None:
    assert decided(initiator(), members(trial(1, 1.0)), trial(0, 2.0, checkpoint=None)).parent == 1


def test_what_is_crossed_comes_from_the_loser() -> None:
    loser, winner = trial(0, 1.0), trial(1, 2.0)
    birth = decided(initiator(mutate=0.0, crossover=1.0), members(loser, winner), loser)
    assert birth.parent == 1
    assert (birth.params["lr"], birth.changes["lr"]) == (loser.params["lr"], Change.CROSSED)
    assert birth.changes["layers"] is Change.KEPT  # inherited with the weights


def test_nothing_is_crossed_with_a_trial_that_failed() -> None:
    birth = decided(initiator(crossover=1.0), members(trial(1)), trial(0, None))
    assert Change.CROSSED not in birth.changes.values()


def test_of_several_metrics_the_one_that_improves_wins_and_between_neither_a_coin_decides() -> None:
    objective = {"a": "maximize", "b": "maximize"}

    def parents(mine: tuple[float, ...], other: tuple[float, ...]) -> set[int | None]:
        own, opponent = trial(0, fitness=0).evolve(fitness=mine), trial(1, fitness=0).evolve(fitness=other)
        return {decided(initiator(), members(opponent), own, seed, objective=objective).parent for seed in range(40)}

    assert parents((1, 1), (1, 2)) == {1}
    assert parents((1, 2), (1, 1)) == {0}
    assert parents((1, 1), (1, 1)) == {0}
    assert parents((1, 2), (2, 1)) == {0, 1}


# Generational

GENERATIONAL = Generational(options=Generational.Options(parents=2, mutate=0.0))


def next_generation(generation: list[Trial]) -> list[NewTrial]:
    births = []
    for index, initiator in enumerate(generation):
        births.append(decided(GENERATIONAL, Members(generation=tuple(generation)), initiator))
        generation[index] = initiator.evolve(child=100 + index)
    return births


def test_the_fittest_are_kept_and_children_are_dealt_evenly_among_them() -> None:
    births = next_generation([trial(0, 1.0), trial(1, 4.0), trial(2, 2.0), trial(3, 3.0)])
    assert [birth.parent for birth in births] == [1, 3, 1, 3]
    assert [(birth.member, birth.generation, birth.opponent) for birth in births] == [(m, 1, None) for m in range(N)]


def test_fewer_are_kept_if_fewer_completed() -> None:
    births = next_generation([trial(0, None), trial(1, 4.0), trial(2, None), trial(3, None)])
    assert [birth.parent for birth in births] == [1, 1, 1, 1]


def test_if_none_completed_all_are_drawn_anew() -> None:
    births = next_generation([trial(number, None) for number in range(N)])
    assert [birth.parent for birth in births] == [None] * N
    assert {change for birth in births for change in birth.changes.values()} == {Change.DRAWN, Change.KEPT}


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.PENDING])
def test_a_generation_is_waited_for(state: TrialState) -> None:
    study = study_from_tables(population=N)
    for last in ((), (trial(3, None, state=state),)):
        generation = (trial(0), trial(1), trial(2), *last)
        assert GENERATIONAL.decide(study, Members(generation=generation), generation[0], Random(0)) is None


def test_ranks_are_by_fitness_then_number_and_only_of_those_that_can_be_parents() -> None:
    trials = (trial(0, 1.0), trial(1, 2.0), trial(2, 2.0), trial(3, None), trial(4, 9.0, checkpoint=None))
    assert [each.number for each in ranked(trials)] == [1, 2, 0]


# Random search


def test_random_search_continues_every_lineage_unchanged() -> None:
    birth = decided(RandomSearch(), members(trial(1, 9.0)), trial(4, 0.0))
    assert (birth.parent, birth.initiator, birth.opponent, birth.start) == (4, 4, None, 20)
    assert birth.params == trial(4).params


def test_a_failed_lineage_of_random_search_restarts_with_sampled_params() -> None:
    assert decided(RandomSearch(), members(trial(1)), trial(4, None)).parent is None


# Names


def test_a_strategy_is_loaded_by_its_name_with_the_options_of_the_study() -> None:
    assert load_strategy(Evolution(strategy="generational", parents=2, mutate=0.0)) == GENERATIONAL
    assert load_strategy(Evolution(crossover=0.5)) == initiator(crossover=0.5)
    assert load_strategy(Evolution(strategy="random")) == RandomSearch()


@pytest.mark.parametrize(("former", "name"), [("none", "random"), ("alone", "continue")])
def test_a_former_name_loads_the_same_strategy(former: str, name: str) -> None:
    assert load_strategy(Evolution(strategy=former)) == load_strategy(Evolution(strategy=name))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"(?s)no-such.*initiator"):
        load_strategy(Evolution(strategy="no-such"))


@pytest.mark.parametrize(
    ("evolution", "label"),
    [
        (Evolution(), "initiator"),
        (Evolution(strategy="random"), "random search"),
        (Evolution(strategy="optuna"), "optuna tpe"),
        (Evolution(strategy="optuna", sampler="gp"), "optuna gp"),
    ],
)
def test_a_strategy_names_its_method(evolution: Evolution, label: str) -> None:
    assert load_strategy(evolution).label(evolution.strategy) == label
