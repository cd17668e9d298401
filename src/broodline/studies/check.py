"""Smoke-tests the training program of a study: train, save, restore, evaluate.

Theory of operation. All findings come from short runs of the program itself, in a temporary directory. Two runs with the same
arguments must give the same bytes. Then a run that differs in one hyperparameter shows whether that takes effect: if the bytes
are the same again, the program ignores it, or its checkpoint restored the old value.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
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
_JUMP = 0.25  # of the change by one trial of training: numeric noise at a restore is smaller


class Verdict(StrEnum):
    """The result of one check."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check, and its result."""

    verdict: Verdict
    text: str
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """The result of one run: its fitness, its last metrics, and a digest of the files that a restore could read."""

    trial: Trial
    metrics: Mapping[str, Any]
    fitness: tuple[float, ...]
    checkpoint: Path
    digest: str

    def same_as(self, other: _Outcome) -> bool:
        return self.metrics == other.metrics and self.digest == other.digest


def check(study: StudyConfig, trainer: Trainer) -> Iterator[Finding]:
    """Checks a program, and yields each finding at once.

    Args:
        study: The study. Each run trains one trial of it.
        trainer: Runs the program. The caller closes it.
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
        yield _good(f"it trains without a checkpoint, reports metrics ({_shown(first.metrics)}) and saves")
        records_reads = _records_reads(self._files.root)
        _mark_unread(first.checkpoint)
        second = self._run(params, parent=first)
        yield self._was_read(first, records_reads)
        yield _good(f"it resumes its checkpoint at step {first.trial.end} and reports metrics ({_shown(second.metrics)})")
        yield self._restores_all(params, first)
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

    def _was_read(self, parent: _Outcome, records_reads: bool) -> Finding:
        if not records_reads:
            return _unknown("unknown whether it reads the checkpoint: this file system does not record reads")
        if _was_read(parent.checkpoint):
            return _good("it reads the checkpoint to restore")
        return _bad(
            "it never read the checkpoint: the trial started from scratch. Does the program use {restore} or BROODLINE_RESTORE?"
        )

    def _restores_all(self, params: Mapping[str, Any], first: _Outcome) -> Finding:
        """Compares the metric before a restore with the metric after a restore without training."""
        try:
            untrained = self._run(params, steps=0)
            restored = self._run(params, parent=first, steps=0)
        except BroodlineError as error:
            return _unknown(f"unknown whether the metric changes at a restore: the program does not accept 0 steps ({error})")
        learned = abs(first.fitness[0] - untrained.fitness[0])
        jumped = abs(restored.fitness[0] - first.fitness[0])
        values = f"({_shown(first.metrics)} before, {_shown(restored.metrics)} after)"
        if jumped > _JUMP * learned:
            return _bad(f"the metric changes at a restore without training {values}: some state is not saved or restored")
        return _good(f"the metric is the same after a restore {values}")

    def _params_survive(self, params: Mapping[str, Any], first: _Outcome, second: _Outcome) -> Iterator[Finding]:
        """Changes each hyperparameter after a restore: if the result is the same, the checkpoint restored the old value."""
        if not self._run(params, parent=first).same_as(second):
            yield _unknown("unknown whether hyperparameters take effect after a restore: two runs with the same seed differ")
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
                    "keep hyperparameters in their checkpoints restore the old ones: set the new ones after loading"
                )


def _others(study: StudyConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    """Another value for each hyperparameter that may mutate and that no condition reads."""
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


def _mark_unread(directory: Path) -> None:
    """Sets the access time of each file before its last change: with `relatime`, Linux records a read only then."""
    for path in _files_in(directory):
        changed = path.stat().st_mtime
        os.utime(path, (changed - 2 * _DAY, changed))


def _was_read(directory: Path) -> bool:
    return any(path.stat().st_atime >= path.stat().st_mtime for path in _files_in(directory))


def _files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and path.name != MANIFEST]


def _records_reads(root: Path) -> bool:
    """True if this file system records that a file was read."""
    probe = root / "probe"
    probe.mkdir()
    (probe / "file").write_bytes(b"x")
    _mark_unread(probe)
    (probe / "file").read_bytes()
    return _was_read(probe)


def _shown(metrics: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in metrics.items())


def _good(text: str) -> Finding:
    return Finding(verdict=Verdict.GOOD, text=text)


def _bad(text: str) -> Finding:
    return Finding(verdict=Verdict.BAD, text=text)


def _unknown(text: str) -> Finding:
    return Finding(verdict=Verdict.UNKNOWN, text=text)
