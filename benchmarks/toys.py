"""Measures the quality of the best trial on the toy problems of the field, through the Python API, over 20 seeds.

jaderberg   Jaderberg et al. 2017, Fig. 2: maximise 1.2 - x0^2 - x1^2 by the gradient of 1.2 - h0 x0^2 - h1 x1^2, h in [0, 1]
plain       PBT-Zoo: maximise 1.2 - x^2; the rate is 2 - h, h in [1e-4, 1.1], first drawn in [0.9, 1.1]
deceptive   PBT-Zoo: the same, but the rate falls with every trial of the lineage that departs from a linear decay of h

Run all, or some::

    python -m benchmarks.toys [--seeds 20] [--toys jaderberg plain deceptive] [--settings 16x16 ...]

A setting is WxN. `:none` (random search) or `:fittest` (generational, the fittest quarter) replaces the default strategy. `@R`
sets a budget of R steps in all, in place of the toy's number of trials per member. `5x20@` with the steps of 5x5 compares the
two at the same resource.

Every trial also sleeps for a moment, so that workers are about equally fast, as devices are. Without it the scheduler decides
how fast each process is, and some lineages get several times the steps of others.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import broodline


@dataclass(frozen=True, slots=True, kw_only=True)
class Toy:
    """A problem: its step from one state to the next, its penalty at the start of a trial, its quality, and its sizes."""

    begin: tuple[float, ...]
    step: Callable[[list[float], dict[str, Any]], list[float]]
    enter: Callable[[list[float], dict[str, Any], int], list[float]]
    quality: Callable[[list[float]], float]
    trial_steps: int
    trials: int
    space: dict[str, broodline.Float]


def _unchanged(state: list[float], _params: dict[str, Any], _start: int) -> list[float]:
    return state


def _jaderberg_step(x: list[float], h: dict[str, Any]) -> list[float]:
    return [x[0] - 0.01 * 2 * h["h0"] * x[0], x[1] - 0.01 * 2 * h["h1"] * x[1]]


def _plain_step(state: list[float], h: dict[str, Any]) -> list[float]:
    return [state[0] * (1 - 0.002 * (2 - h["h"]))]


def _deceptive_step(state: list[float], h: dict[str, Any]) -> list[float]:
    x, away = state
    return [x * (1 - 0.002 * max(2 - h["h"] - 0.2 * away, 0)), away]


def _deceptive_enter(state: list[float], h: dict[str, Any], start: int) -> list[float]:
    return [state[0], state[1] + abs(h["h"] - (1000 - start) / 1000)]


_H = {"h": broodline.Float(1e-4, 1.1, init=(0.9, 1.1))}
TOYS = {
    "jaderberg": Toy(
        begin=(0.9, 0.9),
        step=_jaderberg_step,
        enter=_unchanged,
        quality=lambda x: 1.2 - x[0] ** 2 - x[1] ** 2,
        trial_steps=10,
        trials=20,
        space={"h0": broodline.Float(0.0, 1.0), "h1": broodline.Float(0.0, 1.0)},
    ),
    "plain": Toy(
        begin=(0.9,),
        step=_plain_step,
        enter=_unchanged,
        quality=lambda x: 1.2 - x[0] ** 2,
        trial_steps=20,
        trials=50,
        space=_H,
    ),
    "deceptive": Toy(
        begin=(0.9, 0.0),
        step=_deceptive_step,
        enter=_deceptive_enter,
        quality=lambda x: 1.2 - x[0] ** 2,
        trial_steps=20,
        trials=50,
        space=_H,
    ),
}
DEFAULTS = {
    "jaderberg": ("16x16", "16x16:none", "5x5", "5x20", "5x20@1000"),
    "plain": ("16x16", "16x16:none", "5x5", "5x20", "5x20@5000"),
    "deceptive": ("16x16", "16x16:none", "16x16:fittest"),
}
SECONDS_A_WORKER = 0.007


def trainer(toy: Toy, seconds: float) -> Callable[[Any], dict[str, float]]:
    """The training function of a toy. Its state is the checkpoint."""

    def train(trial: Any) -> dict[str, float]:
        state = list(toy.begin)
        if trial.restore_from:
            state = json.loads((trial.restore_from / "state.json").read_text())
        state = toy.enter(state, trial.params, trial.start)
        for _ in range(trial.steps):
            state = toy.step(state, trial.params)
        (trial.save_to / "state.json").write_text(json.dumps(state))
        time.sleep(seconds)
        return {"quality": toy.quality(state)}

    return train


def best_of(name: str, setting: str, seed: int, directory: Path) -> float:
    """Runs one study, and returns the quality of its best trial."""
    toy = TOYS[name]
    size, _, resource = setting.partition("@")
    size, _, method = size.partition(":")
    workers, population = map(int, size.split("x"))
    evolution = {
        "": broodline.Evolution(),
        "none": broodline.Evolution(strategy="random"),
        "fittest": broodline.Evolution(strategy="generational", parents=max(1, population // 4)),
    }[method]
    budget = broodline.Budget(total_steps=int(resource)) if resource else broodline.Budget(generations=toy.trials)
    study = broodline.Study(
        name=f"{name}-{seed}",
        space=toy.space,
        objective={"quality": "maximize"},
        trial_steps=toy.trial_steps,
        population=population,
        seed=seed,
        evolution=evolution,
        store=f"sqlite:///{directory}/toys.db",
    )
    result = study.run(trainer(toy, workers * SECONDS_A_WORKER), workers=workers, budget=budget, show=False)
    fitness = result.best.fitness
    assert isinstance(fitness, float)
    return fitness


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--toys", nargs="+", choices=TOYS, default=list(TOYS))
    parser.add_argument("--settings", nargs="+", help="default: the settings of docs/benchmarks.md")
    options = parser.parse_args()
    print(f"best quality, mean ± standard deviation of {options.seeds} seeds")
    for name in options.toys:
        for setting in options.settings or DEFAULTS[name]:
            with tempfile.TemporaryDirectory() as directory:
                best = [best_of(name, setting, seed, Path(directory)) for seed in range(options.seeds)]
            spread = stdev(best) if len(best) > 1 else 0.0
            print(f"{name:>10}  {setting:<16} {mean(best):.4f} ± {spread:.4f}   worst {min(best):.4f}", flush=True)


if __name__ == "__main__":
    main()
