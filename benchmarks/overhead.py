"""Measures the overhead: 2 workers, a population of 8, checkpoints of 1 KB, a Python function, durable commits.

Each figure is the median of several runs. Every run has a new process and a new store::

    python -m benchmarks.overhead [--runs 3] [--directory DIR]

Prints these figures, at the end as one line of JSON too:

first_trial_s    from the start of the process to the first line of the training function
trials_per_s     trials per second of the whole process, start and end included, without training time
steady_per_s     the same from the first trial to the last
overhead_ms      worker time per trial outside of training, at that rate: workers / steady_per_s
efficiency       training time / (workers x time from the first trial to the last), with trials of 100 ms
rss_mb, pss_mb   peak resident and proportional memory of all processes together
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil

WORKERS, POPULATION = 2, 8

STUDY = """
import os, sys, time
begun = {begun!r}
import broodline

def train(trial):
    entered = time.time()
    if {seconds} > 0:
        time.sleep({seconds})
    if trial.restore_from:
        (trial.restore_from / "weights").read_bytes()
    (trial.save_to / "weights").write_bytes(os.urandom(1024))
    if trial.number in (0, {trials} - 1):
        with open("times", "a") as file:
            file.write(f"{{trial.number}} {{entered}}\\n")
    return {{"score": trial.params["x"]}}

study = broodline.Study(name="overhead", trial_steps=1, population={population},
    space={{"x": broodline.Float(0.0, 1.0)}}, objective={{"score": "maximize"}})
study.run(train, workers={workers}, budget=broodline.Budget(trials={trials}))
"""


def measured(directory: Path, *, trials: int, seconds: float) -> dict[str, float]:
    """Runs one study in a new process, and returns its figures."""
    begun = time.time()
    script = directory / "study.py"
    script.write_text(
        STUDY.format(begun=begun, seconds=seconds, trials=trials, population=POPULATION, workers=WORKERS), encoding="utf-8"
    )
    begun = time.time()
    process = subprocess.Popen([sys.executable, str(script)], cwd=directory, stdout=subprocess.DEVNULL)
    # Sampling memory takes processor time from the study, so only the run without training time does it.
    rss, pss = (0, 0) if seconds else _largest_memory(process)
    process.wait()
    ended = time.time()
    if process.returncode:
        raise SystemExit(f"the study ended with status {process.returncode}")
    times = dict(line.split() for line in (directory / "times").read_text(encoding="utf-8").splitlines())
    first, last = float(times["0"]), float(times[str(trials - 1)])
    return {
        "first_trial_s": first - begun,
        "trials_per_s": trials / (ended - begun),
        "steady_per_s": (trials - 1) / (last - first),
        "efficiency": (trials - 1) * seconds / (WORKERS * (last - first)),
        "rss_mb": rss / 2**20,
        "pss_mb": pss / 2**20,
    }


def _largest_memory(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    root, rss, pss = psutil.Process(process.pid), 0, 0
    while process.poll() is None:
        try:
            processes = [root, *root.children(recursive=True)]
            infos = [each.memory_full_info() for each in processes]
            rss, pss = max(rss, sum(info.rss for info in infos)), max(pss, sum(info.pss for info in infos))
        except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
            pass  # a process ended during the sample
        time.sleep(0.25)
    return rss, pss


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--directory", type=Path, help="directory of the stores (default: a temporary one)")
    options = parser.parse_args()
    idle, busy = [], []
    for _ in range(options.runs):
        for seconds, trials, into in ((0.0, options.trials, idle), (0.1, 200, busy)):
            with tempfile.TemporaryDirectory(dir=options.directory) as directory:
                into.append(measured(Path(directory), trials=trials, seconds=seconds))
    figures = {name: median(run[name] for run in idle) for name in idle[0]}
    figures["efficiency"] = median(run["efficiency"] for run in busy)
    figures["overhead_ms"] = 1000 * WORKERS / figures["steady_per_s"]
    for name, value in figures.items():
        print(f"{name:>14}  {value:8.2f}")
    print(json.dumps({"runs": options.runs, "cores": os.cpu_count(), **{k: round(v, 3) for k, v in figures.items()}}))


if __name__ == "__main__":
    main()
