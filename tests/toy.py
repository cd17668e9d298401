"""One deterministic toy in the three forms that trainers train: a function, a program for each trial, a program that stays.

Its weights are a number, which follows from all params and seeds of its lineage; `misbehave` makes it fail in one way or another.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol


class CheckpointUsage(Protocol):
    """What the toy needs to know of its trial."""

    params: dict[str, Any]
    restore_from: Path | None
    save_to: Path
    start: int
    steps: int


Report = Callable[..., None]


def train(trial: CheckpointUsage, report: Report) -> dict[str, Any]:
    """Trains, saves, and returns the final metrics."""
    weights = json.loads((trial.restore_from / "weights").read_text())["weights"] if trial.restore_from else 1.0
    for step in range(trial.start + 1, trial.start + trial.steps + 1):
        weights += trial.params["lr"] * (random.Random(step).random() - weights)
        report(step=step, weights=weights)
        misbehave(trial.params.get("misbehave"), report)
    (trial.save_to / "weights").write_text(json.dumps({"weights": weights, "lr": trial.params["lr"]}))
    final = {"step": trial.start + trial.steps, "weights": weights}
    told: dict[str, Any] = trial.params.get("final", final)
    return told


def misbehave(how: str | None, report: Report) -> None:
    """Does what trainers must cope with."""
    if how == "raise":
        print("about to fail", flush=True)
        raise ValueError("kaboom")
    if how == "exit":
        print("about to fail", flush=True)
        sys.exit(3)
    while how == "never end":
        report(step=1, weights=0.0)
        time.sleep(0.001)


def as_function(trial: Any) -> dict[str, Any]:
    """For a function trainer."""
    return train(trial, trial.report)


class FromEnvironment:
    """The trial that the environment tells of."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.params = json.loads(Path(environ["BROODLINE_PARAMS"]).read_text())
        self.restore_from = Path(environ["BROODLINE_RESTORE"]) if "BROODLINE_RESTORE" in environ else None
        self.save_to = Path(environ["BROODLINE_SAVE"])
        self.start, self.steps = int(environ["BROODLINE_START"]), int(environ["BROODLINE_STEPS"])


def append(**metrics: Any) -> None:
    """Reports to the metrics file."""
    with open(os.environ["BROODLINE_METRICS"], "a") as file:
        print(json.dumps(metrics), file=file)


def stay() -> None:
    """Trains one trial after another."""
    import broodline

    for trial in broodline.trials():
        with trial:
            trial.report(**train(trial, trial.report))


if __name__ == "__main__":
    if "BROODLINE_REPLY" in os.environ:
        stay()
    elif final := train(FromEnvironment(os.environ), append):
        append(**final)
