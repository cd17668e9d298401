"""Samplers and grids as studies: what is suggested, what a sampler learns from, and what happens outside of the lock."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, ClassVar

import pytest

from broodline.controller.client import Start, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.grid import combinations
from broodline.core.next_trial import rng_for
from broodline.core.parameters import Choice, Float, Int, Ordered
from broodline.core.population import NewTrial, Population
from broodline.core.reproduction import initial_trial, sampled_trial
from broodline.core.space import Space
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Measurement, Trial, TrialState
from broodline.errors import UsageError
from broodline.storage.base import Store
from broodline.storage.checkpoints.base import checkpoint_of
from broodline.storage.sqlite.store import SqliteStore
from broodline.strategies import optuna as optuna_strategy
from broodline.strategies.registry import load_strategy
from broodline.testing.invariants import check_invariants
from broodline.testing.playing import Crew, FakeClock, MetricsOf, study_from_tables

SAMPLERS = ["tpe", "cmaes", "qmc", "random", pytest.param("gp", marks=pytest.mark.frameworks)]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Iterator[Store]:
    with closing(SqliteStore(None, clock=clock)) as store:
        yield store


def searching(sampler: str, **tables: Any) -> StudyConfig:
    evolution = {"strategy": "optuna", "sampler": sampler}
    return study_from_tables(**{"evolution": evolution, "population": 14, "budget": {"generations": 2}, **tables})


def bowl(trial: Trial) -> dict[str, Any]:
    x = math.log10(trial.params["lr"]) + 2.7
    return {"score": -x * x}


def played(
    store: Store, study: StudyConfig, train: MetricsOf = bowl, *, workers: int = 1, clock: FakeClock | None = None
) -> list[Trial]:
    controller = Controller(store)
    controller.open(study)
    Crew(client=controller, study=study.name, train=train, workers=workers, clock=clock).run()
    check_invariants(store, study.name)
    with store.snapshot(study.name) as records:
        return list(records.trials())


def configurations(trials: list[Trial]) -> list[Any]:
    return [trial.params for trial in trials if trial.generation == 0]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_records_lead_to_the_same_suggestion(store: Store, clock: FakeClock, sampler: str) -> None:
    study = searching(sampler)
    played(store, study, workers=3, clock=clock)
    strategy = load_strategy(study.evolution)
    with store.snapshot(study.name) as records:
        births = [strategy.sample_initial(study, records, 14, rng_for(0, number)) for number in (28, 28, 29)]
    assert births[0] == births[1]
    assert births[0] is not None
    assert study.space.problems(births[0].params) == []
    assert sampler == "qmc" or births[0] != births[2]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_controller_that_is_started_in_between_suggests_what_another_would_have(sampler: str) -> None:
    """A kill and a restart change nothing: there is no memory but the records."""

    def trials(interrupted: bool) -> list[Trial]:
        clock = FakeClock()
        with closing(SqliteStore(None, clock=clock)) as store:
            study = searching(sampler)
            Controller(store).open(study)
            crew = Crew(client=Controller(store), study=study.name, train=bowl, workers=2, clock=clock)
            while crew.turn():
                if interrupted:
                    crew.client = Controller(store)
            with store.snapshot(study.name) as records:
                return list(records.trials())

    assert trials(interrupted=True) == trials(interrupted=False)


SPACE: dict[str, Any] = {
    "lr": {"float": [1e-4, 1.0], "log": True},
    "gamma": {"float": [0.9, 0.9999], "scale": "1-x"},
    "batch": {"ordered": [16, 32, 64]},
    "flip": {"choice": [True, 1, None, "yes"]},
    "layers": {"int": [1, 8]},
    "depth": {"float": [0, 1], "when": {"flip": "yes"}},
    "width": [],
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_type_of_parameter_is_suggested_and_understood_when_it_is_told(store: Store, sampler: str) -> None:
    space = {name: param for name, param in SPACE.items() if name != "width"} | {"width": 64}
    study = searching(sampler, space=space, population=16, budget={"generations": 1})
    found = configurations(played(store, study))
    assert len(found) == 16
    assert len({repr(params) for params in found}) == 16
    assert len({repr(params["flip"]) for params in found}) > 2
    assert {params["width"] for params in found} == {64}


def best_of(store: Store, sampler: str, seed: int) -> float:
    space = {"x": {"float": [-5.0, 5.0]}, "y": {"float": [-5.0, 5.0]}}
    study = searching(sampler, name=f"{sampler}-{seed}", space=space, population=30, budget={"generations": 1}, seed=seed)

    def train(trial: Trial) -> dict[str, Any]:
        return {"score": -((trial.params["x"] - 1.3) ** 2) - (trial.params["y"] + 2.1) ** 2}

    return max((trial.fitness or (-math.inf,))[0] for trial in played(store, study, train))


@pytest.fixture(scope="module")
def drawn() -> float:
    """How near random search comes to the optimum: the logarithm, in the mean of 12 seeds."""
    with closing(SqliteStore(None, clock=FakeClock())) as store:
        return fmean(math.log10(-best_of(store, "random", seed)) for seed in range(12))


@pytest.mark.parametrize(
    ("sampler", "seeds"),
    [
        *(("tpe", 6), ("cmaes", 6)),
        *(pytest.param(sampler, 12, marks=pytest.mark.soak) for sampler in ("tpe", "cmaes")),
        pytest.param("gp", 3, marks=pytest.mark.frameworks),
    ],
)
@pytest.mark.timeout(600)
def test_a_sampler_that_learns_beats_random_search(store: Store, sampler: str, seeds: int, drawn: float) -> None:
    learned = fmean(math.log10(-best_of(store, sampler, seed)) for seed in range(seeds))
    assert learned < drawn - 0.3


def suggested_from(ends: dict[int, Any]) -> Any:
    """What the strategy tells its sampler of ends with these scores (None: the trial failed)."""
    study = searching("tpe")
    trials = []
    for member, score in ends.items():
        state = TrialState.FAILED if score is None else TrialState.COMPLETED
        fitness = None if score is None else (float(score),)
        trials.append(Trial(number=member, member=member, generation=1, params={}, steps=1, state=state, fitness=fitness))
    return optuna_strategy._outcomes(study, trials)


def test_a_lineage_that_failed_is_told_as_the_worst() -> None:
    assert suggested_from({0: 3, 1: None, 2: -7, 3: None}) == [(3.0,), (-7.0,), (-7.0,), (-7.0,)]
    assert suggested_from({0: None}) == [None]


def test_a_lineage_that_failed_is_not_continued_and_the_others_are_trained_to_the_end(store: Store) -> None:
    def fails(trial: Trial) -> dict[str, Any] | None:
        return None if (trial.member, trial.generation) in ((3, 0), (5, 1)) else bowl(trial)

    trials = played(store, searching("random", budget={"generations": 3}), fails, workers=3)
    lengths = [sum(trial.member == member for trial in trials) for member in range(14)]
    assert lengths == [3, 3, 3, 1, 3, 2, *[3] * 8]


def test_a_damaged_checkpoint_restarts_a_lineage_with_its_own_params(store: Store) -> None:
    study = searching("random")
    controller, identity = Controller(store), WorkerSession(worker="0", session="a")
    controller.open(study)
    first = controller.ask(study.name, identity)
    assert isinstance(first, Start)
    measured = [Measurement(step=10, metrics={"score": 1.0})]
    second = controller.complete(study.name, 0, 1, measured, checkpoint_of(first.trial), identity)
    assert isinstance(second, Start)
    assert (second.trial.parent, second.trial.start) == (0, 10)
    again = controller.damaged(study.name, 1, 1, 0, identity)
    assert isinstance(again, Start)
    assert (again.trial.parent, again.trial.start, again.trial.params) == (None, 0, first.trial.params)
    assert again.restore is None


# Outside of the lock


class Meddled(Strategy):
    """A slow strategy during whose decisions somebody else goes on with the study."""

    independent_lineages: ClassVar[bool] = True
    slow: ClassVar[bool] = True

    def __init__(self) -> None:
        self.meddle: Any = None
        self.asked = 0

    def sample_initial(self, study: StudyConfig, population: Population, member: int, rng: Random) -> NewTrial | None:
        self.asked += 1
        if self.meddle is not None:
            self.meddle()
        return sampled_trial(study, member=member, rng=rng)

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        raise AssertionError("no trial completes here")


def meddled(tmp_path: Path) -> tuple[Meddled, Controller, SqliteStore]:
    strategy, store = Meddled(), SqliteStore(tmp_path / "a.db")
    controller = Controller(store, strategy_of=lambda _: strategy)
    controller.open(study_from_tables(population=50))
    return strategy, controller, store


def test_others_can_write_while_a_slow_decision_is_made(tmp_path: Path) -> None:
    strategy, controller, store = meddled(tmp_path)
    other = Controller(SqliteStore(tmp_path / "a.db"), strategy_of=lambda _: strategy)
    strategy.meddle = lambda: other.renew("played", ["nobody"])  # would wait for the lock, if that were held
    answer = controller.ask("played", WorkerSession(worker="0", session="a"))
    assert isinstance(answer, Start)
    assert strategy.asked == 1
    store.close()


def test_a_slow_decision_is_made_again_if_the_study_went_on_meanwhile(tmp_path: Path) -> None:
    strategy, controller, store = meddled(tmp_path)

    def meddle() -> None:
        strategy.meddle = None
        Controller(store, strategy_of=lambda _: strategy).ask("played", WorkerSession(worker="1", session="b"))

    strategy.meddle = meddle
    answer = controller.ask("played", WorkerSession(worker="0", session="a"))
    assert isinstance(answer, Start)
    assert (answer.trial.number, answer.trial.member) == (1, 1)
    assert strategy.asked == 3
    check_invariants(store, "played")
    store.close()


def test_where_a_study_always_goes_on_meanwhile_it_is_decided_in_the_lock_at_last(tmp_path: Path) -> None:
    strategy, controller, store = meddled(tmp_path)
    quick = Meddled()
    others = iter(range(1, 100))

    def meddle() -> None:
        if strategy.asked <= 5:
            worker = str(next(others))
            Controller(store, strategy_of=lambda _: quick).ask("played", WorkerSession(worker=worker, session=worker))

    strategy.meddle = meddle
    answer = controller.ask("played", WorkerSession(worker="0", session="a"))
    assert isinstance(answer, Start)
    assert (strategy.asked, answer.trial.member) == (6, 5)
    store.close()


def test_what_was_told_is_saved_before_a_slow_decision_is_made(tmp_path: Path) -> None:
    strategy, controller, store = meddled(tmp_path)
    first = controller.ask("played", WorkerSession(worker="0", session="a"))
    assert isinstance(first, Start)

    def crash() -> None:
        raise OSError("crash")

    strategy.meddle = crash
    with pytest.raises(OSError, match="crash"):
        controller.fail("played", 0, 1, [], "exit status 1", "", WorkerSession(worker="0", session="a"))
    with store.snapshot("played") as records:
        assert [trial.state for trial in records.trials()] == [TrialState.FAILED]
    store.close()


def test_what_is_missing_is_told_before_a_study_is_created(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_strategy, "find_spec", lambda name: None if name == "torch" else name)
    with pytest.raises(UsageError, match="torch"):
        Controller(store).open(searching("gp"))
    assert store.studies() == ()
    Controller(store).open(searching("tpe"))


# Grids


def test_a_grid_has_all_combinations_evenly_in_what_is_drawn_uniformly() -> None:
    space = Space(
        {
            "lr": Float(1e-4, 1.0, log=True),
            "gamma": Float(0.9, 0.9999, scale="1-x"),
            "layers": Int(1, 2),
            "optimizer": Choice(["sgd", "adam"]),
            "momentum": Float(0.0, 1.0, when={"optimizer": "sgd"}),
            "batch": Ordered([16, 32]),
            "width": 64,
        }
    )
    points = list(combinations(space.params, 4))
    assert len(points) == 4 * 4 * 2 * (4 + 1) * 2
    assert len({repr(point) for point in points}) == len(points)
    assert [problem for point in points for problem in space.problems(point)] == []
    values = {name: sorted({point[name] for point in points if name in point}) for name in ("lr", "gamma", "momentum")}
    assert values["lr"] == pytest.approx([1e-4, 10 ** (-8 / 3), 10 ** (-4 / 3), 1.0])
    assert values["gamma"] == pytest.approx([0.9, 0.99, 0.999, 0.9999])
    assert values["momentum"] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_a_grid_of_more_points_than_integers_has_each_integer_once() -> None:
    assert list(combinations({"n": Int(1, 4)}, 9)) == [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}]


def test_a_study_tries_every_point_of_its_grid(store: Store) -> None:
    space = {"lr": {"float": [1e-4, 1.0], "log": True}, "batch": {"ordered": [16, 32, 64]}}
    evolution = {"strategy": "grid", "points": 5}
    study = study_from_tables(space=space, evolution=evolution, population=15, budget={"generations": 2})
    trials = played(store, study, workers=4)
    assert len(trials) == 30
    assert configurations(trials) == list(combinations(study.space.params, 5))


def test_params_that_are_chosen_are_recorded_as_drawn() -> None:
    study = study_from_tables()
    birth = initial_trial(study, member=2, params={"lr": 0.1, "width": 64})
    assert birth.changes == {"lr": "drawn", "width": "kept"}
