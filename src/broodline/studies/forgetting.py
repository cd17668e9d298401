"""Gives up checkpoints that are gone: the records forget those that are missing or corrupt on the disk.

Only a person can decide that a missing checkpoint will not come back, so no run and no worker does this. A trial that was to
start from one of them starts from another checkpoint instead.
"""

from __future__ import annotations

from collections.abc import Collection

from broodline.core.trial import Trial
from broodline.errors import CheckpointError
from broodline.storage.base import Store
from broodline.storage.study_files import StudyFiles


def forget_missing(store: Store, study: str, files: StudyFiles | None, *, dry: bool = False) -> list[int]:
    """Removes the checkpoints from the records that are missing or corrupt, and returns the numbers of their trials.

    Args:
        store: The store of the study.
        study: Its name.
        files: Its files; None: their directory is gone, and all checkpoints with it.
        dry: Change nothing.
    """
    with store.snapshot(study) as records:  # reading whole checkpoints in a transaction would block workers
        named = [trial for trial in records.trials() if trial.checkpoint is not None]
    gone = [trial for trial in named if files is None or _is_gone(files, trial)]
    if not dry:
        _forget(store, study, gone)
    return [trial.number for trial in gone]


def _is_gone(files: StudyFiles, trial: Trial) -> bool:
    assert trial.checkpoint is not None
    try:
        files.checkpoints.open(trial.checkpoint)
    except CheckpointError:
        files.check_present()  # else the whole directory went away while it was read
        return True
    return False


def _forget(store: Store, study: str, gone: Collection[Trial]) -> None:
    with store.transaction(study) as records:
        for trial in gone:
            now = records.trial(trial.number)
            if now is not None and now.checkpoint == trial.checkpoint:
                records.update(now.evolve(checkpoint=None, kept=False))
