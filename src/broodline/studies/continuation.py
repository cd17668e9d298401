"""Going on alone: a study of one member that begins with a copy of another study's lineage, and its last checkpoint.

The copied trials have the attempt 0, for they were never given out here. Once the new study has begun it needs nothing of the old
one, and its lineage and its schedule reach back to the first step.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from broodline.core.population import Progress
from broodline.core.study import Budget, Evolution, StudyConfig
from broodline.core.trial import Trial, TrialState
from broodline.errors import CheckpointError, CheckpointUnavailable, StoreError, StudyNotFound, UsageError
from broodline.storage.base import Store
from broodline.storage.location import StudyLocation
from broodline.storage.study_files import StudyFiles


def continuation_of(study: StudyConfig, name: str, *, begun_at: int, steps: int, trial_steps: int | None = None) -> StudyConfig:
    """The study that goes on alone.

    Args:
        study: The study that it comes from.
        name: Its name.
        begun_at: The steps that the weights have behind them when it begins.
        steps: Steps to train from there, in whole trials.
        trial_steps: Steps a trial; None: as in the study that it comes from.
    """
    return replace(
        study,
        name=name,
        population=1,
        workers=1,
        trial_steps=trial_steps or study.trial_steps,
        evolution=Evolution(strategy="continue"),
        stopping=None,  # there is nobody to be compared with
        budget=Budget(total_steps=begun_at + steps),
    )


def begun_at(location: StudyLocation, name: str) -> int | None:
    """The steps behind the weights with which a continuation began; None if it has not begun."""
    try:
        with closing(location.open(create=False)) as store, store.snapshot(name) as records:
            copied = [trial for trial in records.trials() if trial.is_copy]
            if records.progress().trials and not copied:
                raise UsageError(f"study '{name}' exists, and is no continuation; name this one otherwise, with --name")
    except StudyNotFound:
        return None
    return copied[-1].end if copied else None


def copy_lineage(store: Store, files: StudyFiles, name: str, *, lineage: Sequence[Trial], source: StudyFiles) -> None:
    """Gives a new study its first trials, in one transaction; does nothing if it has them.

    Args:
        store: The store of both studies.
        files: Of the new study.
        name: Its name.
        lineage: As `lineage_of` returns it: the trial whose checkpoint is copied first.
        source: The files of the study that it comes from.

    Raises:
        UsageError: The checkpoint was swept, or is damaged.
        StoreError: It can't be written.
    """
    with store.snapshot(name) as records:
        if records.progress().trials:
            return
    copies = [_copy(trial, number) for number, trial in enumerate(reversed(lineage))]
    copies[-1] = copies[-1].evolve(child=None, checkpoint=_copy_checkpoint(lineage[0], copies[-1], source, files))
    with store.transaction(name) as records:
        if records.progress().trials:  # by another process meanwhile
            return
        for copy in copies:
            records.insert(copy)
        spent = sum(copy.steps for copy in copies)
        records.save_progress(Progress(trials=len(copies), finished=len(copies), completed=len(copies), steps=spent))


def _copy(trial: Trial, number: int) -> Trial:
    before = number - 1 if number else None
    return trial.evolve(
        number=number,
        member=0,
        generation=number,
        parent=before,
        initiator=before,
        opponent=None,
        child=number + 1,
        attempt=0,
        worker=None,
        session=None,
        checkpoint=None,
        kept=False,
        damaged=None,
    )


def check_has_checkpoint(trial: Trial) -> str:
    """The checkpoint of a trial that is to be gone on from.

    Raises:
        UsageError: It has none.
    """
    if trial.state is not TrialState.COMPLETED:
        raise UsageError(f"trial {trial.number} is {trial.state}, so it left no checkpoint; go on from one that is completed")
    if trial.checkpoint is None:
        raise UsageError(
            f"the checkpoint of trial {trial.number} has been swept; go on from another, or keep more: [checkpoints] keep_best"
        )
    return trial.checkpoint


def _copy_checkpoint(trial: Trial, copy: Trial, source: StudyFiles, files: StudyFiles) -> str:
    checkpoint = check_has_checkpoint(trial)
    try:
        whole = source.checkpoints.open(checkpoint)
        shutil.copytree(whole, files.checkpoints.begin(copy), symlinks=True, dirs_exist_ok=True)
        source.checkpoints.open(checkpoint)  # a study that still runs may have swept it meanwhile
        return files.checkpoints.commit(copy)
    except CheckpointError as error:
        raise UsageError(f"trial {trial.number} can't be gone on from: {error}") from error
    except (CheckpointUnavailable, OSError) as error:
        raise StoreError(f"{files.root}: the checkpoint can't be copied: {error}") from error
