"""Measures the costs that must not grow with a study: a report, an ask, and a wait.

For each size it prints the median in ms of CPU time, of a database in memory::

    python -m benchmarks.flat_costs [--asks 100]

* an ask after that many ended lineages, in a study of strategy `grid` and in a replay, and a look of the live view at it;
* a report to a study of that population with [stopping];
* a report with `mean_of_last` after that many reports of the same trial;
* the share of a core that one waiting worker uses.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from broodline.config.study import dump, parse
from broodline.controller.client import Start, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.trial import Measurement
from broodline.reports.status import read_overview
from broodline.storage.base import Store
from broodline.storage.location import open_store
from broodline.storage.urls import IN_MEMORY

SESSION = WorkerSession(worker="0", session="benchmark")
LINEAGES, POPULATIONS, REPORTS = (100, 1000, 2000), (20, 200, 1000), (20, 200, 1000)
Times = dict[str, float]


def document(**changes: Any) -> dict[str, Any]:
    """A study file, as a document, with these keys changed."""
    base = {"name": "flat", "trial_steps": 10, "objective": {"score": "maximize"}, "space": {"lr": {"float": [0.0, 1.0]}}}
    return {**base, **changes}


def grid(lineages: int) -> dict[str, Any]:
    points = 1 + math.isqrt(2 * lineages)
    space = {name: {"float": [0.0, 1.0]} for name in ("lr", "decay")}
    evolution = {"strategy": "grid", "points": points}
    return document(population=points**2, budget={"generations": 1}, evolution=evolution, space=space)


def replay(lineages: int) -> dict[str, Any]:
    segment = {"trial": 0, "start": 0, "steps": 10, "params": {"lr": 0.5}, "seed": 1, "metrics": {}}
    plan = {"study": "s", "trial": 0, "segments": [segment], "seeds": "fresh", "only": None, "fixed": {}}
    return document(population=2 * lineages, evolution={"strategy": "replay"}, replay=plan)


class Training:
    """One worker of a study in a new store."""

    def __init__(self, store: Store, described: dict[str, Any]) -> None:
        self.controller, self.reports = Controller(store), count(1)
        store.create("flat", json.dumps(dump(parse(described, "benchmark", stored=True))))
        self.answer = self.controller.ask("flat", SESSION)

    def report(self, step: int = 5) -> None:
        assert isinstance(self.answer, Start)
        trial, score = self.answer.trial, [Measurement(step=self.answer.trial.start + step, metrics={"score": 1.0})]
        self.controller.report("flat", trial.number, trial.attempt, score, next(self.reports))

    def complete(self) -> None:
        assert isinstance(self.answer, Start)
        trial, last = self.answer.trial, [Measurement(step=self.answer.trial.end, metrics={"score": 1.0})]
        path = f"checkpoints/{trial.number:06d}.1"
        self.answer = self.controller.complete("flat", trial.number, trial.attempt, last, path, SESSION)

    def train(self) -> None:
        self.report()
        self.complete()


def timed(work: Callable[[], object], times: int, between: Callable[[], object] = lambda: None) -> float:
    """The median in ms of CPU time: a loaded machine or a slow disk does not change it much."""
    measured = []
    for _ in range(times):
        begun = time.thread_time()
        work()
        measured.append(1000 * (time.thread_time() - begun))
        between()
    return round(median(measured), 3)


def of_lineages(described: Callable[[int], dict[str, Any]], lineages: int, asks: int) -> Times:
    """Completing the only trial of a lineage and starting the next one; and a look of the live view."""
    with closing(open_store(IN_MEMORY)) as store:
        study = Training(store, described(lineages))
        for _ in range(lineages):
            study.complete()

        def look() -> None:
            with store.snapshot("flat") as records:
                read_overview(records)

        return {"ask_ms": timed(study.complete, min(asks, lineages - 1)), "look_ms": timed(look, asks)}


def of_population(population: int, asks: int) -> Times:
    """A report in a study that stops trials, after two generations."""
    described = document(population=population, stopping={"rule": "median"})
    with closing(open_store(IN_MEMORY)) as store:
        study = Training(store, described)
        for _ in range(2 * population):
            study.train()
        return {"report_ms": timed(study.report, asks, between=study.complete)}


def of_reports(reports: int, asks: int) -> Times:
    """A report after that many of the same trial, in a study with a mean of the last three values."""
    goal = {"score": {"goal": "maximize", "mean_of_last": 3}}
    described = document(population=4, trial_steps=10**6, stopping={"rule": "median"}, objective=goal)
    with closing(open_store(IN_MEMORY)) as store:
        study, steps = Training(store, described), iter(range(1, 10**6))
        for _ in range(reports):
            study.report(next(steps))
        return {"report_ms": timed(lambda: study.report(next(steps)), asks)}


def of_waiting(directory: Path, seconds: float = 10.0) -> float:
    """The share of a core, in percent, of a worker that waits and asks as `workers.worker` does."""
    with closing(open_store(f"sqlite:///{directory}/waiting.db")) as store:
        Training(store, document(population=1, budget={"generations": 2}))
        other, controller = WorkerSession(worker="1", session="waits"), Controller(store)
        begun, used = time.monotonic(), time.process_time()
        while time.monotonic() - begun < seconds:
            controller.ask("flat", other)
            controller.wait(0.75)  # the mean of the longest wait between two asks
        return round(100 * (time.process_time() - used) / (time.monotonic() - begun), 2)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asks", type=int, default=100)
    asks = parser.parse_args().asks
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        kinds: dict[str, Callable[[], Any]] = {
            "grid, by ended lineages": lambda: {n: of_lineages(grid, n, asks) for n in LINEAGES},
            "replay, by ended lineages": lambda: {n: of_lineages(replay, n, asks) for n in LINEAGES},
            "[stopping], by population": lambda: {n: of_population(n, asks) for n in POPULATIONS},
            "mean_of_last, by reports of the trial": lambda: {n: of_reports(n, asks) for n in REPORTS},
            "waiting, % of a core": lambda: of_waiting(directory),
        }
        found = {}
        for kind, measure in kinds.items():
            found[kind] = measure()
            print(f"{kind}: {found[kind]}", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
