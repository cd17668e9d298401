"""A continuation: a single-member study that resumes the checkpoint of another study with fixed hyperparameters.

Theory of operation. The new study starts with a copy of the lineage: its records, and the checkpoint of its last trial. So
its lineage and its schedule reach back to step 0, and it needs nothing of its source afterwards. A copied trial has attempt 0,
which no worker ever gets: that marks it as a copy. The checkpoint is committed before the records, in the same order as a
worker does it. A crash in between leaves an orphaned checkpoint and a study without trials, and the next run copies again.
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


def continuation_of(study: StudyConfig, name: str, *, start: int, steps: int, trial_steps: int | None = None) -> StudyConfig:
    """The definition of a continuation.

    Args:
        study: The source.
        name: The name of the continuation.
        start: The step of the checkpoint that it resumes.
        steps: Steps to train from there, in whole trials.
        trial_steps: Steps of a trial; None: as in the source.
    """
    return replace(
        study,
        name=name,
        population=1,
        workers=1,
        trial_steps=trial_steps or study.trial_steps,
        evolution=Evolution(strategy="continue"),
        stopping=None,  # early stopping compares members, and there is one
        budget=Budget(total_steps=start + steps),
    )


def start_step(location: StudyLocation, name: str) -> int | None:
    """The step of the checkpoint that a continuation started from; None if it has no trial yet or does not exist.

    Raises:
        UsageError: The study of this name is no continuation.
    """
    try:
        with closing(location.open(create=False)) as store, store.snapshot(name) as records:
            copies = [trial for trial in records.trials() if trial.is_copy]
            if records.progress().trials and not copies:
                raise UsageError(f"study '{name}' exists and is not a continuation\nhelp: choose another name with --name")
    except StudyNotFound:
        return None
    return copies[-1].end if copies else None


def copy_lineage(store: Store, files: StudyFiles, name: str, *, lineage: Sequence[Trial], source: StudyFiles) -> None:
    """Copies a lineage into a new study, in one transaction; does nothing if the study has trials.

    Args:
        store: The store of both studies.
        files: The files of the new study.
        name: The name of the new study.
        lineage: As `lineage_of` returns it: the last trial first. The checkpoint of that trial is copied.
        source: The files of the source.

    Raises:
        UsageError: The checkpoint was deleted or is corrupt.
        StoreError: The copy can't be written.
    """
    with store.snapshot(name) as records:
        if records.progress().trials:
            return
    copies = [_copy(trial, number) for number, trial in enumerate(reversed(lineage))]
    copies[-1] = copies[-1].evolve(child=None, checkpoint=_copy_checkpoint(lineage[0], copies[-1], source, files))
    with store.transaction(name) as records:
        if records.progress().trials:  # another process was faster
            return
        for copy in copies:
            records.insert(copy)
        steps = sum(copy.steps for copy in copies)
        records.save_progress(Progress(trials=len(copies), finished=len(copies), completed=len(copies), steps=steps))


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
    """The checkpoint of a trial, relative to the files of its study.

    Raises:
        UsageError: The trial has none.
    """
    if trial.state is not TrialState.COMPLETED:
        raise UsageError(f"trial {trial.number} is {trial.state} and has no checkpoint\nhelp: choose a completed trial")
    if trial.checkpoint is None:
        raise UsageError(
            f"the checkpoint of trial {trial.number} was deleted\n"
            "help: choose another trial, or keep more checkpoints: [checkpoints] keep_best"
        )
    return trial.checkpoint


def _copy_checkpoint(trial: Trial, copy: Trial, source: StudyFiles, files: StudyFiles) -> str:
    checkpoint = check_has_checkpoint(trial)
    try:
        complete = source.checkpoints.open(checkpoint)
        shutil.copytree(complete, files.checkpoints.begin(copy), symlinks=True, dirs_exist_ok=True)
        source.checkpoints.open(checkpoint)  # a source that still runs may have deleted it during the copy
        return files.checkpoints.commit(copy)
    except CheckpointError as error:
        raise UsageError(f"the checkpoint of trial {trial.number} can't be resumed: {error}") from error
    except (CheckpointUnavailable, OSError) as error:
        raise StoreError(f"{files.root}: the checkpoint can't be copied: {error}") from error
