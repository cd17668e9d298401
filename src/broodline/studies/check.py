"""Smoke-tests the training program of a study: train, save, restore, evaluate.

Theory of operation. All findings come from short runs of the program itself, in a temporary directory. Two runs with the same
arguments should give the same bytes. Then a run that differs in one hyperparameter shows whether that takes effect: if the bytes
are the same again, the program ignores it, or its checkpoint restored the old value. If the two runs differ, because the
program draws its own random numbers, the values at both ends of the range are compared with the spread of repeats.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from broodline.core.parameters import Fixed
from broodline.core.study import StudyConfig
from broodline.core.untrained import doubt
from broodline.errors import BroodlineError, TrialFailed
from broodline.storage.location import files_in
from broodline.studies.check_effects import FEW, MANY, Ends, lost_at_restore
from broodline.studies.check_findings import Finding, Verdict, bad, good, listed, shown, unknown
from broodline.studies.check_restore import Restore
from broodline.studies.check_runs import Outcome, OutOfTime, Runs, files_of
from broodline.studies.trainer import TrainerSetup
from broodline.studies.worker_environment import environment_of_worker
from broodline.workers.likeness import likeness

SECONDS = 600.0
"""The time limit of a check by default."""

_DAY = 86_400.0
_FIXED_RUNS = 5  # from nothing, resumed, repeated, and two without training


def plan(study: StudyConfig, *, steps: int | None = None, seconds: float = SECONDS) -> str:
    """How many runs a check makes, of how many steps, and for how long at most."""
    count = len(_others(study, _params(study)))
    fewest, most = _FIXED_RUNS + count, _FIXED_RUNS + 3 + 4 * MANY * count
    return (
        f"check makes {fewest} runs of at most {steps or study.trial_steps:,} steps, and up to {most} if the results of repeats "
        f"differ; it ends after {seconds / 60:g} minutes at the latest"
    )


def check(
    study: StudyConfig,
    setup: TrainerSetup,
    *,
    steps: int | None = None,
    seconds: float = SECONDS,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Finding]:
    """Checks a program in the environment in which `run` trains, and yields each finding at once.

    Args:
        study: The study. Each run trains one trial of it.
        setup: Makes the trainer, and names the devices and threads of a worker.
        steps: Steps of each run; None: the study's `trial_steps`.
        seconds: The time limit of the whole check.
        progress: Receives a line before each run.
    """
    with tempfile.TemporaryDirectory(prefix="broodline-check-") as directory, environment_of_worker(setup.engine) as devices:
        files, trainer = files_in(Path(directory)), setup.trainer()
        files.prepare()
        runs = Runs(
            study=study,
            trainer=trainer,
            files=files,
            steps=steps or study.trial_steps,
            devices=devices,
            seconds=seconds,
            progress=progress,
        )
        try:
            yield from _Check(study, runs).findings()
        except TrialFailed as failed:
            yield Finding(verdict=Verdict.BAD, text=f"the program failed: {failed.reason}", output=failed.output)
        except BroodlineError as error:
            yield bad(str(error))
        except OutOfTime:
            yield unknown(
                f"the limit of {seconds / 60:g} minutes was reached in run {runs.made}, so the rest was not checked: "
                "give fewer --steps, or a longer --time"
            )
        finally:
            trainer.close()
            files.checkpoints.close()


class _Check:
    def __init__(self, study: StudyConfig, runs: Runs) -> None:
        self._study, self._runs = study, runs

    def findings(self) -> Iterator[Finding]:
        params, run = _params(self._study), self._runs.run
        first = run(params)
        yield good(f"it trains without a checkpoint, reports metrics ({shown(first.metrics)}) and saves")
        records_reads = _records_reads(self._runs.files.root)
        _mark_unread(first.checkpoint)
        second = run(params, parent=first)
        was_read = _was_read(first.checkpoint) if records_reads else None
        if was_read is False:
            yield bad(
                "it never read the checkpoint: the trial started from scratch. "
                "Does the program use {restore} or BROODLINE_RESTORE?"
            )
            return
        if was_read:
            yield good("it reads the checkpoint to restore")
        yield (trains_on := self._trains_on(first, second))
        if trains_on.verdict is Verdict.BAD:  # every further run would be a copy of the first
            return
        restore = Restore(self._runs, params, first, second)
        yield from restore.findings(was_read)
        yield from self._params_survive(params, first, second, restore.untrained)

    def _trains_on(self, first: Outcome, second: Outcome) -> Finding:
        alike = likeness(first.checkpoint, second.checkpoint)
        asked = second.trial.evolve(steps=self._runs.steps)
        parent = first.trial.evolve(metrics=first.metrics)
        if why := doubt(asked, parent, step=second.trial.end, metrics=second.metrics, likeness=alike):
            return bad(
                f"after a restore it {why.partition(': its')[0]}: asked for {asked.steps} steps from step {first.trial.end}, "
                f"it should train up to step {asked.end}. A limit that counts from the start, such as max_steps, is start + steps"
            )
        return good(f"it resumes its checkpoint at step {first.trial.end} and reports metrics ({shown(second.metrics)})")

    def _params_survive(
        self, params: Mapping[str, Any], first: Outcome, second: Outcome, untrained: Outcome | None
    ) -> Iterator[Finding]:
        """Changes each hyperparameter after a restore: if the result is the same, the checkpoint restored the old value."""
        others = _others(self._study, params)
        if others and not self._runs.run(params, parent=first).same_as(second):
            yield from (self._shows(name, params, untrained or first) for name in others)
            return
        for name, value in others.items():
            yield self._changes_bytes(name, value, params, first, second)

    def _changes_bytes(self, name: str, value: Any, params: Mapping[str, Any], first: Outcome, second: Outcome) -> Finding:
        run, changed = self._runs.run, {**params, name: value}
        try:
            alike = run(changed, parent=first).same_as(second)
        except TrialFailed as failed:
            return good(f"{name} takes effect after a restore: with {value!r} the program fails ({failed.reason})")
        if not alike:
            return good(f"{name} takes effect after a restore")
        same = f"{params[name]!r} and {value!r} give the same bytes"
        return bad(_no_effect(name, same) if run(changed).same_as(run(params)) else _restored(name, same))

    def _shows(self, name: str, params: Mapping[str, Any], parent: Outcome) -> Finding:
        """Compares the results at both ends of the range of a parameter with the spread of repeats."""
        low, high = _ends(self._study, name)
        restored = self._at_ends(name, (low, high), params, parent)
        values = f"{listed(restored.low)} with {low!r}, {listed(restored.high)} with {high!r}"
        if restored.differ:
            return good(f"{name} takes effect after a restore ({values})")
        if all(not math.isfinite(value) for value in (*restored.low, *restored.high)):
            return bad(f"{name}: the program fails with {low!r} and with {high!r}, the ends of the range")
        scratch = self._at_ends(name, (low, high), params, None)
        without = f"without a checkpoint: {listed(scratch.low)} and {listed(scratch.high)}"
        if lost_at_restore(restored, scratch):
            return bad(_restored(name, f"{values}; {without}"))
        return unknown(
            f"it is unclear whether {name} takes effect after a restore: repeats differ by as much as the ends of its range "
            f"({values}; {without}). Seed the program with BROODLINE_SEED (trial.seed), so that repeats are equal, "
            "or give more --steps"
        )

    def _at_ends(self, name: str, ends: tuple[Any, Any], params: Mapping[str, Any], parent: Outcome | None) -> Ends:
        found: tuple[list[float], list[float]] = ([], [])
        while len(found[0]) < FEW or (len(found[0]) < MANY and not Ends(*found).differ):
            for value, values in zip(ends, found, strict=True):
                values.append(self._fitness({**params, name: value}, parent))
        return Ends(*found)

    def _fitness(self, params: Mapping[str, Any], parent: Outcome | None) -> float:
        """The fitness of a run; minus infinity if it failed: at an end of its range a parameter may make training diverge."""
        try:
            return self._runs.run(params, parent=parent).fitness[0]
        except TrialFailed:
            return -math.inf


def _params(study: StudyConfig) -> dict[str, Any]:
    return study.space.draw(Random(f"broodline check {study.seed}"))[0]


def _others(study: StudyConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    """Another value for each hyperparameter that may mutate and that no condition reads."""
    space, rng = study.space, Random(f"broodline check others {study.seed}")
    # A change of a parameter that a condition reads would add or remove other parameters, so its own effect would not show.
    named = {on for param in space.params.values() for on in param.when or ()}
    found = {}
    for name, value in params.items():
        param = space.params[name]
        # A choice of two values draws the same one again and again by chance, but not a hundred times.
        draws = (param.sample(rng) for _ in range(100))
        other = next((draw for draw in draws if draw != value), None)
        if param.mutate and not isinstance(param, Fixed) and name not in named and other is not None:
            found[name] = other
    return found


def _ends(study: StudyConfig, name: str) -> tuple[Any, Any]:
    values = study.space.params[name].spread(2)
    return values[0], values[-1]


def _no_effect(name: str, why: str) -> str:
    return f"{name} has no effect at all: {why}"


def _restored(name: str, why: str) -> str:
    return (
        f"{name} has no effect after a restore: {why}. Frameworks that keep hyperparameters in their checkpoints "
        "restore the old ones: set the new ones after loading"
    )


def _mark_unread(directory: Path) -> None:
    """Sets the access time of each file before its last change: with `relatime`, Linux records a read only then."""
    for path in files_of(directory):
        changed = path.stat().st_mtime
        os.utime(path, (changed - 2 * _DAY, changed))


def _was_read(directory: Path) -> bool:
    return any(path.stat().st_atime >= path.stat().st_mtime for path in files_of(directory))


def _records_reads(root: Path) -> bool:
    """True if this file system records that a file was read."""
    probe = root / "probe"
    probe.mkdir()
    (probe / "file").write_bytes(b"x")
    _mark_unread(probe)
    (probe / "file").read_bytes()
    return _was_read(probe)
