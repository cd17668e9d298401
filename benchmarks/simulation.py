"""Measures the speed of simulations: thousands of workers in virtual time, with faults, on one core.

The toy of Jaderberg et al., 10 steps per trial of 6 virtual seconds each; 2 preemptions and half a crash per hour and worker.
A tenth of the workers is 10 times slower. 1 % of the trials fail, of the answers are lost, and of the checkpoints are corrupt::

    python -m benchmarks.simulation [--settings 100x100 ...] [--generations 5]

A setting is WxN. Prints processor time, trials per second, memory, and the summary of the last simulation.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import broodline
from benchmarks.toys import TOYS

FAULTS = broodline.Faults(
    preemptions=2, crashes=0.5, stragglers=0.1, slowness=10, spread=0.2, failures=0.01, lost_answers=0.01, damaged=0.01
)


def train(trial: broodline.SimulatedTrial) -> tuple[Any, dict[str, float]]:
    toy = TOYS["jaderberg"]
    state = trial.state or list(toy.begin)
    for _ in range(trial.steps):
        state = toy.step(state, trial.params)
    return state, {"quality": toy.quality(state)}


def simulated(workers: int, population: int, generations: int) -> broodline.Simulation:
    study = broodline.Study(
        name="jaderberg",
        space=TOYS["jaderberg"].space,
        objective={"quality": "maximize"},
        trial_steps=TOYS["jaderberg"].trial_steps,
        population=population,
        max_failures=population,
    )
    budget = broodline.Budget(trials=generations * population)
    return broodline.simulate(study, train, workers=workers, budget=budget, seconds_per_step=6.0, faults=FAULTS)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", default=["100x100", "1000x1000", "10000x10000"])
    parser.add_argument("--generations", type=int, default=5, help="trials per member")
    options = parser.parse_args()
    for setting in options.settings:
        workers, population = map(int, setting.split("x"))
        begun = time.process_time()
        simulation = simulated(workers, population, options.generations)
        seconds = time.process_time() - begun
        trials = len(simulation.result.trials)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{setting:>11}  {trials:7d} trials  {simulation.calls:6d} calls  {seconds:6.1f} s  "
            f"{trials / seconds:5.0f} trials/s  {memory:5.0f} MB",
            flush=True,
        )
    print(simulation)


if __name__ == "__main__":
    main()
