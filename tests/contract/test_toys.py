"""The field's toys, with workers of equal speed: evolution finds what random search does not, and is not misled.

The figures of the docs are of 20 seeds and of real workers (`python -m benchmarks.toys`); these are of few, in one process.
"""

from __future__ import annotations

from collections import deque
from statistics import mean

import pytest
from benchmarks.toys import TOYS

from broodline.config.study import parse
from broodline.controller.client import Start, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.trial import Measurement, Trial
from broodline.storage.sqlite.store import SqliteStore

SEEDS = pytest.mark.parametrize("seeds", [2, pytest.param(4, marks=pytest.mark.soak)])


def best_of(name: str, seed: int, *, strategy: str = "initiator", workers: int = 16, population: int = 16) -> float:
    toy = TOYS[name]
    controller = Controller(SqliteStore(None))
    controller.open(
        parse(
            {
                "name": name,
                "space": toy.space,
                "objective": {"quality": "maximize"},
                "trial_steps": toy.trial_steps,
                "population": population,
                "seed": seed,
                "evolution": {"strategy": strategy},
                "budget": {"generations": toy.trials},
            },
            "test",
        )
    )
    states: dict[int | None, list[float]] = {None: list(toy.begin)}
    best = float("-inf")
    answers = deque(controller.ask(name, identity) for identity in askers(workers))
    crew = deque(askers(workers))
    while any(isinstance(answer, Start) for answer in answers):
        answer, identity = answers.popleft(), crew.popleft()
        if isinstance(answer, Start):
            states[answer.trial.number] = trained(name, answer.trial, states[answer.trial.parent])
            quality = toy.quality(states[answer.trial.number])
            best = max(best, quality)
            measured = [Measurement(step=answer.trial.end, metrics={"quality": quality})]
            number, attempt = answer.trial.number, answer.trial.attempt
            answers.append(controller.complete(name, number, attempt, measured, f"checkpoints/{number:06d}.1", identity))
        else:
            answers.append(controller.ask(name, identity))
        crew.append(identity)
    return best


def askers(workers: int) -> list[WorkerSession]:
    return [WorkerSession(worker=str(worker), session=str(worker)) for worker in range(workers)]


def trained(name: str, trial: Trial, state: list[float]) -> list[float]:
    toy, params = TOYS[name], dict(trial.params)
    state = toy.enter(state, params, trial.start)
    for _ in range(trial.steps):
        state = toy.step(state, params)
    return state


@pytest.mark.parametrize(("name", "least"), [("jaderberg", 1.198), ("plain", 1.1985), ("deceptive", 1.18)])
@SEEDS
def test_evolution_comes_near_the_best_that_there_is(name: str, least: float, seeds: int) -> None:
    assert mean(best_of(name, seed) for seed in range(seeds)) >= least


@pytest.mark.parametrize(("name", "most"), [("plain", 1.1915), ("deceptive", 1.06)])
@SEEDS
def test_random_search_does_not(name: str, most: float, seeds: int) -> None:
    assert mean(best_of(name, seed, strategy="random") for seed in range(seeds)) <= most


def test_the_same_seed_gives_the_same_study_and_another_seed_another() -> None:
    assert best_of("jaderberg", 1) == best_of("jaderberg", 1) != best_of("jaderberg", 2)
