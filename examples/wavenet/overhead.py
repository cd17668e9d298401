"""Measures the cost of cutting training into trials: time per step against steps per trial, and the parts of a trial.

    python overhead.py               # some minutes, unless results exist; needs an idle machine
    python overhead.py --again       # also if results exist

One worker, one lineage, a constant learning rate; the same number of steps, in trials of different lengths. What counts is
the ratio, within each trial, of all its time to that of its training steps: between runs machines change their speed by
more than all of the overhead. As a check the same steps are also trained in one single trial, uninterrupted.

The trainer tells what it did when; the rest of a trial's time, between the controller's own marks, is broodline's:

ask        from the moment the trial is given out until the program begins with it: the parent's checkpoint is verified
setup      the program builds the network, and loads the checkpoint
warmup     what the first step takes longer than the others do
train      the steps
save       the program writes its checkpoint
complete   until the next trial is given out: the checkpoint is flushed and renamed, the store commits and decides

The evaluation, once a trial, is not counted: in the paper another process does it, and how long it takes is a choice.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

import speech
from experiment import Place, broodline, trials
from studies import SIZES, Size, fixed_params

SPANS = ("ask", "setup", "warmup", "train", "save", "complete")


def study_file(name: str, size: Size, steps: int, count: int) -> str:
    """A lineage of that many trials."""
    lines = [f'name = "{name}"', f"trial_steps = {steps}", "population = 1", "workers = 1", "[objective]", 'loss = "minimize"']
    lines += ["[evolution]", 'strategy = "random"', "[budget]", f"trials = {count}", "[space]", "lr = 0.003", *fixed_params(size)]
    return "\n".join([*lines, "[train]", 'command = ["python", "../../../../train.py"]', "resident = true", ""])


def seconds(moment: str) -> float:
    """Since the epoch."""
    return datetime.fromisoformat(moment).timestamp()


def spans_of(records: list[dict[str, Any]]) -> list[dict[str, float]]:
    """The parts of each trial's time in seconds, and the total without the evaluation; the last trial has no successor."""
    found = []
    for record, following in pairwise(records):
        told = record["metrics"]
        step = told["other_steps"] / (record["steps"] - 1)
        inside = sum(told[name] for name in ("setup", "first_step", "other_steps", "evaluate", "save"))
        spans = {
            "ask": told["begun"] - seconds(record["started"]),
            "setup": told["setup"],
            "warmup": told["first_step"] - step,
            "train": told["other_steps"] + step,
            "save": told["save"],
            "complete": seconds(following["started"]) - told["begun"] - inside,
        }
        found.append(spans)
    return found


def measured(place: Place, size: Size, steps: int, count: int, name: str) -> list[dict[str, Any]]:
    """Runs one lineage from scratch, and returns its trials."""
    study = place.study(f"overhead/{name}")
    shutil.rmtree(study.parent, ignore_errors=True)
    study.parent.mkdir(parents=True)
    study.write_text(study_file(f"overhead-{name}", size, steps, count), encoding="utf-8")
    broodline("run", study, "--json")
    return trials(study)


def point_of(steps: int, runs: list[list[dict[str, float]]]) -> dict[str, Any]:
    """The medians over all trials of all runs but the first of each, which loads the libraries and the data."""
    spans = [trial for run in runs for trial in run[1:]]
    medians = {name: median(trial[name] for trial in spans) for name in SPANS}
    return {
        "steps": steps,
        "trials": len(spans),
        "train_s": round(medians["train"], 4),
        "ratio": round(median(sum(trial.values()) / trial["train"] for trial in spans), 4),
        "spans": {name: round(value, 6) for name, value in medians.items()},
    }


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--steps", type=int, nargs="+", default=[12, 25, 50, 100, 200, 400], help="steps per trial")
    parser.add_argument("--total", type=int, default=1200, help="steps of each run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--again", action="store_true", help="measure again, also if results exist")
    options = parser.parse_args()
    place, size = Place(size=options.size), SIZES[options.size]
    if place.done("overhead") and not options.again:
        return
    speech.prepare(size.voice)
    whole, chunked = [], {steps: [] for steps in options.steps}
    for run in range(options.runs):
        for steps in options.steps:
            records = measured(place, size, steps, options.total // steps + 2, f"{steps}-{run}")
            chunked[steps].append(spans_of(records))
        (record,) = measured(place, size, options.total, 1, f"whole-{run}")
        whole.append(record["metrics"]["other_steps"] / (options.total - 1))
    points = [point_of(steps, chunked[steps]) for steps in options.steps]
    results = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "uninterrupted_step_s": [round(value, 6) for value in whole],
        "points": points,
        "two_seconds": min(points, key=lambda point: abs(point["train_s"] - 2)),
    }
    place.publish("overhead", results)
    for point in points:
        print(json.dumps(point))


if __name__ == "__main__":
    main()
