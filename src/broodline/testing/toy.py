"""A deterministic toy to train, as a function, as a program for each trial, and as a resident program.

Its weights are a number that follows from the learning rates of its lineage. As a program it is run by its path: it needs
broodline only where it is resident. A param makes it misbehave: `misbehave` is "raise", "exit" or "never end", and `final` is
returned in the place of its final metrics.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

PATH = Path(__file__)


class ToyTrial(Protocol):
    """The part of a trial that the toy reads."""

    params: dict[str, Any]
    restore_from: Path | None
    save_to: Path
    start: int
    steps: int


Report = Callable[..., None]


def weights_after(lrs: Sequence[float]) -> float:
    """The weights of a lineage after one step with each of these learning rates."""
    weights = 1.0
    for step, lr in enumerate(lrs, 1):
        weights = _stepped(weights, step, lr)
    return weights


def train(trial: ToyTrial, report: Report) -> dict[str, Any]:
    """Trains, reports each step, saves, and returns the final metrics."""
    weights = json.loads((trial.restore_from / "weights").read_text())["weights"] if trial.restore_from else 1.0
    for step in range(trial.start + 1, trial.start + trial.steps + 1):
        weights = _stepped(weights, step, trial.params["lr"])
        report(step=step, weights=weights)
        _misbehave(trial.params.get("misbehave"), report)
    (trial.save_to / "weights").write_text(json.dumps({"weights": weights, "lr": trial.params["lr"]}))
    final: dict[str, Any] = trial.params.get("final", {"step": trial.start + trial.steps, "weights": weights})
    return final


def as_function(trial: Any) -> dict[str, Any]:
    """The toy for a function trainer."""
    return train(trial, trial.report)


def _stepped(weights: float, step: int, lr: float) -> float:
    return weights + lr * (random.Random(step).random() - weights)


def _misbehave(how: str | None, report: Report) -> None:
    if how == "raise":
        print("about to fail", flush=True)
        raise ValueError("kaboom")
    if how == "exit":
        print("about to fail", flush=True)
        sys.exit(3)
    while how == "never end":
        report(step=1, weights=0.0)
        time.sleep(0.001)


class _FromEnvironment:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self.params = json.loads(Path(environ["BROODLINE_PARAMS"]).read_text())
        self.restore_from = Path(environ["BROODLINE_RESTORE"]) if "BROODLINE_RESTORE" in environ else None
        self.save_to = Path(environ["BROODLINE_SAVE"])
        self.start, self.steps = int(environ["BROODLINE_START"]), int(environ["BROODLINE_STEPS"])


def _append(**metrics: Any) -> None:
    with open(os.environ["BROODLINE_METRICS"], "a") as file:
        print(json.dumps(metrics), file=file)


def _train_many() -> None:
    import broodline

    for trial in broodline.trials():
        with trial:
            trial.report(**train(trial, trial.report))


if __name__ == "__main__":
    if "BROODLINE_REPLY" in os.environ:
        _train_many()
    elif final := train(_FromEnvironment(os.environ), _append):
        _append(**final)
