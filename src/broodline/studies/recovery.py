"""What is put in order before a study goes on: trials of workers that died, and what crashes left on the disk."""

from __future__ import annotations

from broodline.controller.controller import Controller
from broodline.core.retention import is_orphan
from broodline.storage.base import Store
from broodline.storage.study_files import StudyFiles
from broodline.workers.liveness import collect_dead_sessions
from broodline.workers.trainers.scratch import clear_after


def put_in_order(store: Store, study: str, files: StudyFiles) -> None:
    """Takes back the trials of dead workers of this machine without waiting for their leases, and sweeps orphans."""
    dead = collect_dead_sessions(files.workers)
    for session in dead:
        clear_after(session)  # a program outlives a worker that was killed
    if dead:
        Controller(store).release(study, dead, lost=True)
    sweep_orphans(store, study, files)


def sweep_orphans(store: Store, study: str, files: StudyFiles) -> int:
    """Removes staged directories and checkpoints that no attempt and no record will ever name; returns how many.

    A checkpoint that is recorded and lies under its staged name, because power failed, gets its place.
    """
    orphans = (
        files.checkpoints.attempts()
    )  # before the records are read: the directories of what is begun meanwhile are no orphans
    with store.snapshot(study) as records:
        trials = [records.trial(left.number) for left in orphans]
    swept = 0
    for left, trial in zip(orphans, trials, strict=True):
        if is_orphan(trial, left.attempt, left.checkpoint):
            files.checkpoints.remove_attempt(left)
            swept += 1
        elif trial is not None and trial.checkpoint == left.checkpoint:
            files.checkpoints.finish_commit(left)
    return swept
