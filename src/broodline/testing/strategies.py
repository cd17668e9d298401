"""The contract of a strategy: whatever happens to its trials, it makes children that can be trained."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from broodline.controller.controller import Controller
from broodline.core.next_trial import rng_for
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial, TrialState
from broodline.storage.base import Store
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing.invariants import check_invariants
from broodline.testing.playing import Crew, FakeClock, Train, study_from_tables

TRIALS = 60


def _by_params(trial: Trial) -> dict[str, Any]:
    return {"score": trial.params["lr"]}


def _sometimes(outcome: float | None) -> Callable[[Trial], dict[str, Any] | None]:
    """Trains as by params, but every third trial ends like this."""

    def train(trial: Trial) -> dict[str, Any] | None:
        if trial.number % 3 != 1:
            return _by_params(trial)
        return None if outcome is None else {"score": outcome}

    return train


_PROGRAMS: dict[str, Train] = {
    "fitness follows from the params": _by_params,
    "all tie": lambda trial: {"score": 1.0},
    "some diverge": _sometimes(float("nan")),
    "some report infinity": _sometimes(float("inf")),
    "some crash": _sometimes(None),
    "generation 0 crashes": lambda trial: _by_params(trial) if trial.generation else None,
    "all crash": lambda trial: None,
    "huge and tiny": lambda trial: {"score": (-1) ** trial.number * 10.0 ** (trial.number % 300)},
}


class StrategyContract(ABC):
    """Subclass it as `TestMyStrategy` and return the strategy."""

    @abstractmethod
    def strategy(self) -> Strategy:
        """Returns the strategy."""

    def tables(self) -> dict[str, Any]:
        """What its study file holds beside the usual; [evolution] with the knobs that it needs, for example."""
        return {}

    @property
    def independent_lineages(self) -> bool:
        """True if lineages never mix: its tables must then have a population and generations that make 60 trials."""
        return self.strategy().independent_lineages

    def study(self, **tables: Any) -> StudyConfig:
        """A study for it."""
        return study_from_tables(**{"budget": {"trials": TRIALS}, "train": {"max_failures": 10**6}, **self.tables(), **tables})

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        with closing(SqliteStore(None, clock=FakeClock())) as store:
            yield store

    def play(
        self, store: Store, study: StudyConfig, train: Train = _by_params, *, workers: int = 3, turns: int = 10_000
    ) -> list[Trial]:
        """Plays a study, to its end or for so many turns, and returns all trials."""
        controller = Controller(store, strategy_of=lambda _: self.strategy())
        controller.open(study)
        Crew(client=controller, study=study.name, train=train, workers=workers).run(turns)
        check_invariants(store, study.name)
        with store.snapshot(study.name) as records:
            return list(records.trials())

    @pytest.mark.parametrize("program", _PROGRAMS.values(), ids=list(_PROGRAMS))
    @pytest.mark.parametrize("workers", [1, 3, 7])
    def test_it_trains_a_study_to_its_end_whatever_the_programs_do(self, store: Store, program: Train, workers: int) -> None:
        trials = self.play(store, self.study(), program, workers=workers)
        assert all(trial.state.finished for trial in trials)
        if self.independent_lineages:
            self.check_lineages(trials)
            return
        assert len(trials) == TRIALS
        assert max(Counter(trial.member for trial in trials).values()) <= TRIALS // 4 + workers + 1

    def check_lineages(self, trials: list[Trial]) -> None:
        """Every lineage begins, goes on from itself to the last generation, or ends where it fails."""
        study = self.study()
        generations = TRIALS // study.population
        for member in range(study.population):
            own = [trial for trial in trials if trial.member == member]
            assert [trial.parent for trial in own] == [None, *(trial.number for trial in own[:-1])]
            assert {trial.state for trial in own[:-1]} <= {TrialState.COMPLETED}
            assert len(own) == generations or own[-1].state is not TrialState.COMPLETED

    def test_lineages_that_never_mix_are_trained_one_after_the_other(self, store: Store) -> None:
        if not self.independent_lineages:
            pytest.skip("its lineages mix: all members begin first")
        trials = self.play(store, self.study(), workers=3)
        for trial in trials:
            earlier = trials[: trial.number]
            begun = {other.member for other in earlier if other.generation == 0}
            ended = {other.member for other in earlier if other.generation == TRIALS // self.study().population - 1}
            assert len(begun - ended) <= 3

    def test_it_trains_a_population_of_one(self, store: Store) -> None:
        if self.study().evolution.parents is not None:
            pytest.skip("it keeps some of a generation and drops others: there must be two")
        if self.study().evolution.points is not None:
            pytest.skip("its population is the number of points of a grid: there must be two")
        trials = self.play(store, self.study(population=1, budget={"generations": TRIALS}), workers=2)
        assert [trial.generation for trial in trials] == list(range(TRIALS))
        assert [trial.parent for trial in trials] == [None, *range(TRIALS - 1)]

    def test_a_parent_is_a_completed_trial(self, store: Store) -> None:
        trials = self.play(store, self.study(), _sometimes(None))
        parents = [trials[trial.parent] for trial in trials if trial.parent is not None]
        assert parents if self.independent_lineages else len(parents) > TRIALS / 2
        assert {parent.state for parent in parents} == {TrialState.COMPLETED}

    def test_params_stay_in_the_space(self, store: Store) -> None:
        often = self.tables().get("evolution", {}) | {"mutate": 1.0, "resample": 0.2, "crossover": 0.3, "factors": [0.01, 100.0]}
        study = self.study(evolution=often)
        for trial in self.play(store, study):
            assert study.space.problems(trial.params) == []

    def test_the_same_random_numbers_make_the_same_decision_and_no_others_are_drawn(self, store: Store) -> None:
        study = self.study()
        self.play(store, study, turns=30)
        before = random.getstate()
        with store.snapshot(study.name) as records:
            initiator = records.first_initiator("0") or records.trial(0)
            assert initiator is not None
            decisions = [self.strategy().decide(study, records, initiator, rng_for(0, number)) for number in (30, 30, 31)]
            begun = [
                self.strategy().sample_initial(study, records, records.members_started() - 1, rng_for(0, number))
                for number in (30, 30)
            ]
        assert decisions[0] == decisions[1]
        assert begun[0] == begun[1]
        assert random.getstate() == before

    def test_the_same_asks_and_completions_give_the_same_trials(self, store: Store) -> None:
        study = self.study()
        with closing(SqliteStore(None, clock=FakeClock())) as other:
            assert self.play(store, study) == self.play(other, study)
