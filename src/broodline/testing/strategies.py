"""The contract of a strategy: it makes children that can be trained, in every state of its trials.

A strategy's tests subclass the contract of its lineages and the contract of its population::

    class TestMyStrategy(MixedLineagesContract, AnyPopulationContract):
        name = "my_strategy"

        def variants(self):
            return {"mutate": self.with_options(mutate=1.0)}

The strategy must be installed: the contract finds it by its entry point and gives it its options through a study file's table, as
a study does.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest

from broodline.controller.controller import Controller
from broodline.core.next_trial import rng_for
from broodline.core.options import Option, declared_options
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial, TrialState
from broodline.errors import StudyFileError
from broodline.storage.base import Store
from broodline.storage.sqlite.store import SqliteStore
from broodline.strategies.registry import load_strategy, strategy_class
from broodline.testing.invariants import check_invariants
from broodline.testing.playing import Crew, FakeClock, MetricsOf, study_from_tables

TRIALS = 60


def _by_params(trial: Trial) -> dict[str, Any]:
    return {"score": trial.params["lr"]}


def _every_third(outcome: float | None) -> Callable[[Trial], dict[str, Any] | None]:
    """Trains by params, but every third trial ends with this outcome."""

    def train(trial: Trial) -> dict[str, Any] | None:
        if trial.number % 3 != 1:
            return _by_params(trial)
        return None if outcome is None else {"score": outcome}

    return train


_PROGRAMS: dict[str, MetricsOf] = {
    "fitness follows from the params": _by_params,
    "all tie": lambda trial: {"score": 1.0},
    "some diverge": _every_third(float("nan")),
    "some report infinity": _every_third(float("inf")),
    "some crash": _every_third(None),
    "generation 0 crashes": lambda trial: _by_params(trial) if trial.generation else None,
    "all crash": lambda trial: None,
    "huge and tiny": lambda trial: {"score": (-1) ** trial.number * 10.0 ** (trial.number % 300)},
}


class StrategyContract(ABC):
    """The part that holds for every strategy; subclass one of the contracts of lineages below.

    Attributes:
        name: The name under which the strategy is installed.
    """

    name: str

    def tables(self) -> dict[str, Any]:
        """The tables of a study of 60 trials for the strategy, in addition to the usual ones."""
        return {"evolution": {"strategy": self.name}}

    @abstractmethod
    def variants(self) -> Mapping[str, Mapping[str, Any]]:
        """For each option, by name: tables that differ in this option, and that must lead to other decisions."""

    def with_options(self, **options: Any) -> dict[str, Any]:
        """The tables with other options in [evolution]."""
        return {**self.tables(), "evolution": {**self.tables()["evolution"], **options}}

    def study(self, **tables: Any) -> StudyConfig:
        """A study for it; `tables` replace its own."""
        return study_from_tables(**{"budget": {"trials": TRIALS}, "train": {"max_failures": 10**6}, **self.tables(), **tables})

    def strategy(self) -> Strategy:
        """The strategy, with the options of its tables."""
        return load_strategy(self.study().evolution)

    def options(self) -> tuple[Option, ...]:
        """The options that it declares."""
        return declared_options(strategy_class(self.name).Options)

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        with closing(SqliteStore(None, clock=FakeClock())) as store:
            yield store

    def play(
        self, store: Store, study: StudyConfig, train: MetricsOf = _by_params, *, workers: int = 3, turns: int = 10_000
    ) -> list[Trial]:
        """Plays a study to its end, or for so many turns, checks the invariants, and returns all trials."""
        controller = Controller(store)
        controller.open(study)
        Crew(client=controller, study=study.name, train=train, workers=workers).run(turns)
        check_invariants(store, study.name)
        with store.snapshot(study.name) as records:
            return list(records.trials())

    @pytest.mark.parametrize("program", _PROGRAMS.values(), ids=list(_PROGRAMS))
    @pytest.mark.parametrize("workers", [1, 3, 7])
    def test_it_trains_a_study_to_its_end_whatever_the_programs_do(self, store: Store, program: MetricsOf, workers: int) -> None:
        trials = self.play(store, self.study(), program, workers=workers)
        assert all(trial.state.finished for trial in trials)
        self.check_population(trials, workers)

    @abstractmethod
    def check_population(self, trials: list[Trial], workers: int) -> None:
        """Checks the members and the lineages of a study that has ended."""

    def test_a_parent_is_a_completed_trial(self, store: Store) -> None:
        trials = self.play(store, self.study(), _every_third(None))
        parents = {trials[trial.parent].state for trial in trials if trial.parent is not None}
        assert parents == {TrialState.COMPLETED}

    def test_the_same_random_numbers_make_the_same_decision_and_no_others_are_drawn(self, store: Store) -> None:
        study, strategy = self.study(), self.strategy()
        self.play(store, study, turns=30)
        before = random.getstate()
        with store.snapshot(study.name) as records:
            initiator = records.first_initiator("0") or records.trial(0)
            assert initiator is not None
            member = records.members_started() - 1
            children = [strategy.decide(study, records, initiator, rng_for(0, 30)) for _ in range(2)]
            initial = [strategy.sample_initial(study, records, member, rng_for(0, 30)) for _ in range(2)]
        assert children[0] == children[1]
        assert initial[0] == initial[1]
        assert random.getstate() == before

    def test_the_same_asks_and_completions_give_the_same_trials(self, store: Store) -> None:
        study = self.study()
        with closing(SqliteStore(None, clock=FakeClock())) as other:
            assert self.play(store, study) == self.play(other, study)

    def test_every_option_makes_a_difference_and_keeps_params_in_the_space(self, store: Store) -> None:
        assert set(self.variants()) == {option.name for option in self.options()}
        usual = _decisions(self.play(store, self.study()))
        for name, tables in self.variants().items():
            study = self.study(**{**tables, "name": f"varied-{name}"})
            trials = self.play(store, study)
            assert _decisions(trials) != usual, f"option '{name}' changes nothing"
            assert [study.space.problems(trial.params) for trial in trials] == [[] for _ in trials]

    def test_values_outside_of_an_options_range_are_refused(self) -> None:
        for option in self.options():
            for value in _out_of_range(option):
                with pytest.raises(StudyFileError, match=rf"\[evolution\] {option.name}: must be"):
                    self.study(**self.with_options(**{option.name: value}))

    def test_every_option_is_explained(self) -> None:
        assert [option.name for option in self.options() if not option.help] == []

    def test_a_key_that_it_does_not_use_is_refused_by_name(self) -> None:
        with pytest.raises(StudyFileError, match=rf"\[evolution\] of_another: strategy '{self.name}' has no such option"):
            self.study(**self.with_options(of_another=1))


class MixedLineagesContract(StrategyContract):
    """A strategy whose children may have the parent of another member: all members start first."""

    def check_population(self, trials: list[Trial], workers: int) -> None:
        assert not self.strategy().independent_lineages
        assert len(trials) == TRIALS
        assert max(Counter(trial.member for trial in trials).values()) <= TRIALS // 4 + workers + 1

    def test_most_trials_have_a_parent_although_some_crash(self, store: Store) -> None:
        trials = self.play(store, self.study(), _every_third(None))
        assert sum(trial.parent is not None for trial in trials) > TRIALS / 2


class IndependentLineagesContract(StrategyContract):
    """A strategy whose lineages never mix; the population and generations of its tables must make 60 trials."""

    def check_population(self, trials: list[Trial], workers: int) -> None:
        """Each lineage starts, continues itself to the last generation, or ends where it fails."""
        assert self.strategy().independent_lineages
        study = self.study()
        generations = TRIALS // study.population
        for member in range(study.population):
            own = [trial for trial in trials if trial.member == member]
            assert [trial.parent for trial in own] == [None, *(trial.number for trial in own[:-1])]
            assert {trial.state for trial in own[:-1]} <= {TrialState.COMPLETED}
            assert len(own) == generations or own[-1].state is not TrialState.COMPLETED

    def test_lineages_are_trained_depth_first(self, store: Store) -> None:
        trials = self.play(store, self.study(), workers=3)
        last = TRIALS // self.study().population - 1
        for trial in trials:
            earlier = trials[: trial.number]
            started = {other.member for other in earlier if other.generation == 0}
            ended = {other.member for other in earlier if other.generation == last}
            assert len(started - ended) <= 3

    def test_a_study_without_generations_is_refused(self) -> None:
        with pytest.raises(StudyFileError, match=r"\[budget\] generations: is missing"):
            self.study(budget={"trials": TRIALS})


class AnyPopulationContract(StrategyContract):
    """A strategy that accepts every size of population."""

    def test_it_trains_a_population_of_one(self, store: Store) -> None:
        trials = self.play(store, self.study(population=1, budget={"generations": TRIALS}), workers=2)
        assert [trial.generation for trial in trials] == list(range(TRIALS))
        assert [trial.parent for trial in trials] == [None, *range(TRIALS - 1)]


class RestrictedPopulationContract(StrategyContract):
    """A strategy that accepts some sizes of population only."""

    def test_a_population_of_one_is_refused_with_the_allowed_sizes(self) -> None:
        with pytest.raises(StudyFileError, match=r"(population|\[evolution\] \w+): must be .*, got"):
            self.study(population=1)


def _decisions(trials: list[Trial]) -> list[Any]:
    return [(trial.parent, dict(trial.params), dict(trial.changes)) for trial in trials]


def _out_of_range(option: Option) -> list[Any]:
    """Values that the declaration of an option does not allow; each follows from one of its bounds."""
    step = 1 if option.type is int else 0.5
    numbers = [
        *([] if option.at_least is None else [option.at_least - step]),
        *([] if option.at_most is None else [option.at_most + step]),
        *([option.above, option.above - step] if option.above is not None else []),
        *([] if option.other_than is None else [option.other_than]),
    ]
    items = [*numbers, *(["not one of them"] if option.one_of else []), {"of": "another type"}]
    return [*([item] for item in items), []] if option.is_list else items
