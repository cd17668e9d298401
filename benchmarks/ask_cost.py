"""Measures whether the cost of a decision grows with the length of a study.

Fills two stores, with a short and a long study. Then completes one more trial at a time in each, in turn::

    python -m benchmarks.ask_cost [--short 1000] [--long 100000] [--asks 500] [--store postgresql://HOST/DATABASE]

Both studies are new ones of the store; without one, each lies in a SQLite file of its own. Prints the median of each in ms,
and the ratio.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import uuid
from collections.abc import Callable
from statistics import median

from broodline.config.study import parse
from broodline.controller.client import Start, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.trial import Measurement
from broodline.storage.location import open_store

POPULATION = 20
SESSION = WorkerSession(worker="0", session="benchmark")


def filled(url: str, trials: int) -> Callable[[], None]:
    """Fills a store with a study of that many trials, and returns a function that trains one more."""
    store, name = open_store(url), f"{trials}-{uuid.uuid4().hex}"
    controller = Controller(store)
    controller.open(
        parse(
            {
                "name": name,
                "trial_steps": 10,
                "population": POPULATION,
                "objective": {"score": "maximize"},
                "space": {"lr": {"float": [1e-5, 1.0], "log": True}, "width": {"ordered": [16, 32, 64]}},
            },
            "benchmark",
        )
    )
    answer = controller.ask(name, SESSION)

    def train_one() -> None:
        nonlocal answer
        assert isinstance(answer, Start)
        trial = answer.trial
        measured = [Measurement(step=trial.end, metrics={"score": trial.params["lr"]})]
        answer = controller.complete(name, trial.number, trial.attempt, measured, f"checkpoints/{trial.number:06d}.1", SESSION)

    for _ in range(trials):
        train_one()
    return train_one


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", type=int, default=1000)
    parser.add_argument("--long", type=int, default=100_000)
    parser.add_argument("--asks", type=int, default=500)
    parser.add_argument("--store", metavar="URL")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        studies = {n: filled(options.store or f"sqlite:///{directory}/{n}.db", n) for n in (options.short, options.long)}
        times: dict[int, list[float]] = {n: [] for n in studies}
        for _ in range(options.asks):
            for n, train_one in studies.items():
                begun = time.perf_counter()
                train_one()
                times[n].append(1000 * (time.perf_counter() - begun))
    short, long = (median(times[n]) for n in studies)
    print(f"complete and ask, median of {options.asks}:")
    print(f"{short:.2f} ms after {options.short} trials, {long:.2f} ms after {options.long}")
    print(json.dumps({"short_ms": round(short, 3), "long_ms": round(long, 3), "ratio": round(long / short, 3)}))


if __name__ == "__main__":
    main()
