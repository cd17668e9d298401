"""Tries a study's program before hours are spent on it: train, save, restore, evaluate.

Everything is done by runs of the program itself, in a temporary directory; what they show is told as findings.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any

from broodline.core.parameters import Fixed
from broodline.core.study import StudyConfig
from broodline.core.trial import Measurement, Trial, TrialState
from broodline.errors import BroodlineError, CheckpointError, TrialFailed
from broodline.storage.checkpoints.manifest import MANIFEST
from broodline.storage.location import files_in
from broodline.storage.study_files import StudyFiles
from broodline.workers.trainers.base import Assignment, Trainer

_DAY = 86_400.0
_JUMP = 0.25  # of what training from nothing changed


class Verdict(StrEnum):
    """What a finding comes to."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was tried, and what came of it."""

    verdict: Verdict
    text: str
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What one run left: its fitness, its last metrics, and a digest of all that a restore could read."""

    trial: Trial
    metrics: Mapping[str, Any]
    fitness: tuple[float, ...]
    checkpoint: Path
    digest: str

    def same_as(self, other: _Outcome) -> bool:
        return self.metrics == other.metrics and self.digest == other.digest


def check(study: StudyConfig, trainer: Trainer) -> Iterator[Finding]:
    """Tries a program, and yields what it finds, as it finds it.

    Args:
        study: The study; its trials' steps are what is trained.
        trainer: Trains a trial of it; the caller closes it.
    """
    with tempfile.TemporaryDirectory(prefix="broodline-check-") as directory:
        files = files_in(Path(directory))
        files.prepare()
        try:
            yield from _Check(study, trainer, files).findings()
        except TrialFailed as failed:
            yield Finding(verdict=Verdict.BAD, text=f"the program failed: {failed.reason}", output=failed.output)
        except BroodlineError as error:
            yield Finding(verdict=Verdict.BAD, text=str(error))


class _Check:
    def __init__(self, study: StudyConfig, trainer: Trainer, files: StudyFiles) -> None:
        self._study, self._trainer, self._files = study, trainer, files
        self._number = 0

    def findings(self) -> Iterator[Finding]:
        params, _ = self._study.space.draw(Random(f"broodline check {self._study.seed}"))
        first = self._run(params)
        yield _good(f"it trains from nothing, measures ({_shown(first.metrics)}) and saves")
        seen = _reading_shows(self._files.root)
        _forget_reading(first.checkpoint)
        second = self._run(params, parent=first)
        yield self._was_read(first, seen)
        yield _good(f"it goes on from its checkpoint at step {first.trial.end}, and measures ({_shown(second.metrics)})")
        yield self._carries_on(params, first)
        yield from self._params_survive(params, first, second)

    def _run(self, params: Mapping[str, Any], *, parent: _Outcome | None = None, steps: int | None = None) -> _Outcome:
        trial = Trial(
            number=self._number,
            member=0,
            generation=0 if parent is None else 1,
            params=params,
            seed=self._study.seed,
            start=0 if parent is None else parent.trial.end,
            steps=self._study.trial_steps if steps is None else steps,
            state=TrialState.RUNNING,
            parent=None if parent is None else parent.trial.number,
            attempt=1,
        )
        self._number += 1
        measured = self._trainer.train(
            Assignment(
                trial=trial,
                restore=None if parent is None else parent.checkpoint,
                save=self._files.checkpoints.begin(trial),
                log=self._files.log(trial),
                worker="check",
                devices=(),
                report=lambda _: None,
            )
        )
        return self._outcome(trial, measured)

    def _outcome(self, trial: Trial, measured: list[Measurement]) -> _Outcome:
        if problem := self._study.objective.problem(measured):
            raise TrialFailed(problem)
        fitness = self._study.objective.fitness(measured)
        assert fitness is not None
        try:
            checkpoint = self._files.path(self._files.checkpoints.commit(trial))
        except CheckpointError as error:
            raise TrialFailed(str(error)) from error
        trained = trial.evolve(steps=measured[-1].step - trial.start)
        metrics = measured[-1].metrics
        return _Outcome(trial=trained, metrics=metrics, fitness=fitness, checkpoint=checkpoint, digest=_digest(checkpoint))

    def _was_read(self, parent: _Outcome, seen: bool) -> Finding:
        if not seen:
            return _unknown("whether the checkpoint was read can't be seen: this file system does not note when files are read")
        if _was_read(parent.checkpoint):
            return _good("it reads the checkpoint that it is to restore")
        return _bad(
            "the checkpoint was never read: the trial began from nothing. Does the program use {restore} or BROODLINE_RESTORE?"
        )

    def _carries_on(self, params: Mapping[str, Any], first: _Outcome) -> Finding:
        """Compares the metric before a restore with that after one without training."""
        try:
            untrained = self._run(params, steps=0)
            restored = self._run(params, parent=first, steps=0)
        except BroodlineError as error:
            return _unknown(
                f"whether the metric jumps at a restore is not known: the program can't be asked for 0 steps ({error})"
            )
        learned = abs(first.fitness[0] - untrained.fitness[0])
        jumped = abs(restored.fitness[0] - first.fitness[0])
        told = f"({_shown(first.metrics)} before, {_shown(restored.metrics)} after)"
        if jumped > _JUMP * learned:
            return _bad(f"the metric jumps at a restore without any training {told}: not all of the state is saved or restored")
        return _good(f"the metric is the same after a restore {told}")

    def _params_survive(self, params: Mapping[str, Any], first: _Outcome, second: _Outcome) -> Iterator[Finding]:
        """Changes each parameter after a restore: if nothing else changes, the checkpoint put the old value back."""
        if not self._run(params, parent=first).same_as(second):
            yield _unknown("whether params survive a restore can't be seen: two runs with the same seed differ")
            return
        for name, value in _others(self._study, params).items():
            changed = {**params, name: value}
            if not self._run(changed, parent=first).same_as(second):
                yield _good(f"{name} takes effect after a restore")
            elif self._run(changed).same_as(self._run(params)):
                yield _bad(f"{name} has no effect at all: {params[name]!r} and {value!r} give the same bytes")
            else:
                yield _bad(
                    f"{name} has no effect after a restore: {params[name]!r} and {value!r} give the same bytes. Frameworks that "
                    "keep hyperparameters in their checkpoints put the old ones back: set the new ones after loading"
                )


def _others(study: StudyConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    """Another value for each parameter that may mutate and on which no condition depends."""
    space, rng = study.space, Random(f"broodline check others {study.seed}")
    named = {on for param in space.params.values() for on in param.when or ()}
    found = {}
    for name, value in params.items():
        param = space.params[name]
        draws = (param.sample(rng) for _ in range(100))
        other = next((draw for draw in draws if draw != value), None)
        if param.mutate and not isinstance(param, Fixed) and name not in named and other is not None:
            found[name] = other
    return found


def _digest(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            digest.update(path.relative_to(directory).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _forget_reading(directory: Path) -> None:
    """Makes the files of a directory look unread: systems that save writes note a reading only once a day, or after a change."""
    for path in _files_in(directory):
        changed = path.stat().st_mtime
        os.utime(path, (changed - 2 * _DAY, changed))


def _was_read(directory: Path) -> bool:
    return any(path.stat().st_atime >= path.stat().st_mtime for path in _files_in(directory))


def _files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and path.name != MANIFEST]


def _reading_shows(root: Path) -> bool:
    """Whether this file system notes that a file was read."""
    probe = root / "probe"
    probe.mkdir()
    (probe / "file").write_bytes(b"x")
    _forget_reading(probe)
    (probe / "file").read_bytes()
    return _was_read(probe)


def _shown(metrics: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in metrics.items())


def _finder(verdict: Verdict) -> Callable[[str], Finding]:
    return lambda text: Finding(verdict=verdict, text=text)


_good, _bad, _unknown = map(_finder, Verdict)
