"""Runs the experiment, or goes on with it: every study, one after the other, each with 5 workers.

    python experiment.py                  # the small size: two CPU cores, some hours
    python experiment.py --size quick     # a minute: shows that everything works
    python experiment.py --only pbt-5x5   # some methods only

Ctrl-C at any time; the same command goes on. Studies lie in `runs/SIZE/`, what the figures need is collected in `results/SIZE/`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import speech
from studies import HERE, METHODS, SIZES, Planned, Size, planned, study_file

# So that `broodline`, and the `python` of the study files, are found without an activated environment.
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
SPANS = ("setup", "first_step", "other_steps", "evaluate", "save")


def broodline(*words: str | Path, keep: bool = True) -> str:
    """What a command of broodline prints; ends with its exit status if it fails."""
    done = subprocess.run(["broodline", *words], env=ENVIRONMENT, stdout=subprocess.PIPE if keep else None, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout or ""


def trials(study: Path) -> list[dict[str, Any]]:
    """The completed trials of a study, in the order in which they completed."""
    records = map(json.loads, broodline("trials", study, "--json").splitlines())
    return sorted((record for record in records if record["state"] == "completed"), key=lambda record: record["finished"])


def columns(records: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """What the figures need of trials: a list for each column."""
    return {
        **{name: [record[name] for record in records] for name in ("number", "member", "generation", "parent", "start", "steps")},
        "lr": [float(f"{record['params']['lr']:.6g}") for record in records],
        "loss": [round(record["metrics"]["loss"], 5) for record in records],
    }


def results_file(size: str, name: str) -> Path:
    """Where the results of a study are collected."""
    return HERE / "results" / size / f"{name}.json"


def write(path: Path, results: dict[str, Any]) -> None:
    """Writes results, a key a line, so that changes can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in results.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def folder_of(size: str, name: str) -> Path:
    """Where a study lies."""
    return HERE / "runs" / size / name


def run(plan: Planned, size: str) -> None:
    """Runs a study to its end, unless its results are there already, and collects them."""
    results = results_file(size, plan.name)
    if results.exists() and len(json.loads(results.read_text(encoding="utf-8"))["loss"]) >= plan.trials:
        return
    folder = folder_of(size, plan.name)
    folder.mkdir(parents=True, exist_ok=True)
    study = folder / "study.toml"
    study.write_text(study_file(plan, SIZES[size], folder), encoding="utf-8")
    begun = time.time()
    broodline("run", study, "--json")
    found = columns(trials(study))
    write(results, {"method": plan.method, "repeat": plan.repeat, **found})
    print(f"{plan.name}: {len(found['loss'])} trials in {time.time() - begun:.0f} s, best {min(found['loss']):.3f}", flush=True)


def compare(name: str, size: Size, only: list[str] | None) -> None:
    """Runs all studies of the comparison."""
    for plan in planned(size):
        if only is None or plan.method in only:
            run(plan, name)


def main() -> None:
    """Fetches the data if need be, and runs what is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--only", nargs="+", choices=METHODS, help="these methods")
    options = parser.parse_args()
    try:
        speech.prepare(SIZES[options.size].voice)
    except speech.NoDataError as error:
        sys.exit(str(error))
    compare(options.size, SIZES[options.size], options.only)


if __name__ == "__main__":
    main()
