"""Runs or resumes the experiment: every study, one after the other, each with 5 workers.

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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import speech
from studies import HERE, METHODS, SIZES, Planned, planned, study_file

# Finds `broodline`, and the `python` of the study files, without an activated environment.
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
REPLAYED = ("pbt-5x5", "pbt-5x20")


def broodline(*words: str | Path, keep: bool = True) -> str:
    """Runs a command of broodline, and returns its output; exits with its status if it fails."""
    done = subprocess.run(["broodline", *words], env=ENVIRONMENT, stdout=subprocess.PIPE if keep else None, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout or ""


def trials(study: Path, name: str | None = None) -> list[dict[str, Any]]:
    """The completed trials of a study, or of one of this name in its store, in the order in which they completed."""
    which = [study] if name is None else [name, "--store", f"sqlite:///{study.parent / 'broodline.db'}"]
    records = map(json.loads, broodline("trials", *which, "--json").splitlines())
    return sorted((record for record in records if record["state"] == "completed"), key=lambda record: record["finished"])


def columns(records: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The columns of trials that the figures use."""
    return {
        **{name: [record[name] for record in records] for name in ("number", "member", "generation", "parent", "start", "steps")},
        "lr": [float(f"{record['params']['lr']:.6g}") for record in records],
        "loss": [round(record["metrics"]["loss"], 5) for record in records],
    }


def write(path: Path, results: dict[str, Any]) -> None:
    """Writes results with one key per line, which makes changes readable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in results.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The folders of the studies of one size, and of their results."""

    size: str

    def study(self, name: str) -> Path:
        """The file of a study; its store is in the same folder."""
        return HERE / "runs" / self.size / name / "study.toml"

    def results(self, name: str) -> Path:
        """The file of its results."""
        return HERE / "results" / self.size / f"{name}.json"

    def done(self, name: str) -> dict[str, Any] | None:
        """The results of this checkout's own runs: the committed results belong to studies that are not here."""
        path = self._own(name)
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def has(self, name: str, trials: int) -> bool:
        """True if that many of a study's trials have been collected."""
        done = self.done(name)
        return done is not None and len(done["loss"]) >= trials

    def publish(self, name: str, results: dict[str, Any]) -> None:
        """Writes results."""
        write(self.results(name), results)
        write(self._own(name), results)

    def _own(self, name: str) -> Path:
        return HERE / "runs" / self.size / "collected" / f"{name}.json"

    def collect(self, name: str, plan: Planned, records: list[dict[str, Any]], begun: float) -> None:
        """Writes the results of a study, and prints a line."""
        found = columns(records)
        self.publish(name, {"method": plan.method, "repeat": plan.repeat, **found})
        told = f"{name}: {len(found['loss'])} trials in {time.time() - begun:.0f} s, best {min(found['loss']):.3f}"
        print(told, flush=True)


def run(plan: Planned, place: Place) -> None:
    """Runs a study to its end, unless its results exist."""
    if place.has(plan.name, plan.trials):
        return
    study = place.study(plan.name)
    study.parent.mkdir(parents=True, exist_ok=True)
    study.write_text(study_file(plan, SIZES[place.size], study.parent), encoding="utf-8")
    begun = time.time()
    broodline("run", study, "--json")
    place.collect(plan.name, plan, trials(study), begun)


def go_on(plan: Planned, place: Place) -> None:
    """Continues the best checkpoint of a study with one worker, for the length of a deep lineage: Figure 5."""
    size, name = SIZES[place.size], f"continued/{plan.name}"
    if place.has(name, size.deep):
        return
    study, begun = place.study(plan.name), time.time()
    further = f"{plan.name}-continued"
    broodline("continue", study, "--steps", str(size.deep * size.trial_steps), "--name", further, "--json")
    place.collect(name, plan, trials(study, further), begun)


def replay(plan: Planned, place: Place) -> None:
    """Retrains the best lineage of a study from scratch, several times, with fresh random numbers."""
    name, copies = f"replays/{plan.name}", SIZES[place.size].copies
    if place.has(name, copies):
        return
    study, begun = place.study(plan.name), time.time()
    again = f"{plan.name}-replay-{copies}"
    broodline("replay", study, "--seeds", "fresh", "--copies", str(copies), "--name", again, "--workers", "1", "--json")
    place.collect(name, plan, trials(study, again), begun)


def judge(plans: list[Planned], place: Place) -> None:
    """Measures the best checkpoint of every study on the test split, once; it skips those that have results."""
    if place.done("test"):
        return
    best = [json.loads(broodline("best", place.study(plan.name), "--json").splitlines()[0]) for plan in plans]
    command = [sys.executable, HERE / "judge.py", *(each["checkpoint"] for each in best)]
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    judged = [json.loads(line) for line in lines]
    losses = {plan.name: each["losses"] for plan, each in zip(plans, judged, strict=True)}
    place.publish("test", {"samples": judged[0]["samples"], **losses})
    print(f"the test split: {len(plans)} checkpoints on {len(judged[0]['samples'])} recordings", flush=True)


def all_of(plans: list[Planned], place: Place) -> None:
    """The whole experiment, in an order that makes early results useful."""
    size = SIZES[place.size]
    compared = [plan for plan in plans if plan.method in METHODS and plan.repeat < size.repeats]
    for plan in compared:
        run(plan, place)
    # Each of these has one worker, so one per core trains concurrently.
    with ThreadPoolExecutor(os.cpu_count()) as side_by_side:
        list(side_by_side.map(lambda plan: replay(plan, place), [plan for plan in compared if plan.method in REPLAYED]))
        list(side_by_side.map(lambda plan: go_on(plan, place), compared))
    for plan in plans:
        run(plan, place)
    judge(compared, place)


def main() -> None:
    """Fetches the data if it is missing, and runs the remaining studies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--only", nargs="+", choices=METHODS, metavar="METHOD", help=f"of {', '.join(METHODS)}")
    options = parser.parse_args()
    size = SIZES[options.size]
    try:
        speech.prepare(size.voice)
    except speech.NoDataError as error:
        sys.exit(str(error))
    place, plans = Place(size=options.size), planned(size)
    if options.only is None:
        all_of(plans, place)
    for plan in plans:
        if options.only and plan.method in options.only:
            run(plan, place)


if __name__ == "__main__":
    main()
