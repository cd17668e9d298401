"""One deterministic toy in three forms: a function, a program for each trial, and a resident program.

Its weights are a number that depends on all params and seeds of the lineage. The param `misbehave` makes it fail.
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
    """The trial, as far as the toy needs it."""

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
    metrics: dict[str, Any] = trial.params.get("final", final)
    return metrics


def misbehave(how: str | None, report: Report) -> None:
    """Fails in a way that trainers must handle."""
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
    """The toy for a function trainer."""
    return train(trial, trial.report)


class FromEnvironment:
    """The trial that the environment describes."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.params = json.loads(Path(environ["BROODLINE_PARAMS"]).read_text())
        self.restore_from = Path(environ["BROODLINE_RESTORE"]) if "BROODLINE_RESTORE" in environ else None
        self.save_to = Path(environ["BROODLINE_SAVE"])
        self.start, self.steps = int(environ["BROODLINE_START"]), int(environ["BROODLINE_STEPS"])


def append(**metrics: Any) -> None:
    """Appends a measurement to the metrics file."""
    with open(os.environ["BROODLINE_METRICS"], "a") as file:
        print(json.dumps(metrics), file=file)


def stay() -> None:
    """Trains one trial after another in a resident program."""
    import broodline

    for trial in broodline.trials():
        with trial:
            trial.report(**train(trial, trial.report))


if __name__ == "__main__":
    if "BROODLINE_REPLY" in os.environ:
        stay()
    elif final := train(FromEnvironment(os.environ), append):
        append(**final)
