"""Recovers a study after a crash: the trials of dead workers, and the files of attempts that were lost."""

from __future__ import annotations

from broodline.controller.client import Client
from broodline.core.retention import is_orphan
from broodline.storage.base import Records
from broodline.storage.study_files import StudyFiles
from broodline.workers.liveness import dead_sessions, remove_copied_sessions
from broodline.workers.trainers.scratch import clear_after


def recover(store: Records, client: Client, study: str, files: StudyFiles) -> None:
    """Releases the trials of dead workers of this machine without waiting for their leases, and deletes orphaned files."""
    files.check_present()
    if copied := remove_copied_sessions(files.workers):  # before the dead are collected: their workers may live elsewhere
        client.release(study, copied)
    while _clean_up_after_the_dead(client, study, files):
        pass
    delete_orphans(store, study, files)


def _clean_up_after_the_dead(client: Client, study: str, files: StudyFiles) -> bool:
    """Ends the programs of some dead workers, releases their trials, and forgets the workers last; False if there are none."""
    with dead_sessions(files.workers) as dead:
        for session in dead:
            clear_after(session)  # a program outlives a worker that was killed
        if dead:
            client.release(study, dead, lost=True)
        return bool(dead)


def delete_orphans(store: Records, study: str, files: StudyFiles) -> int:
    """Deletes the directories of attempts that no record names or ever will, and returns their number.

    A power failure may leave a recorded checkpoint under its staged name. That one is renamed.

    Raises:
        FilesMissing: The directory does not carry the identity of the store. Nothing is deleted.
    """
    files.check_present()
    # The disk is read before the records: an attempt that starts in between is no orphan, and its directory is not listed.
    attempts = files.checkpoints.attempts()
    with store.snapshot(study) as records:
        trials = [records.trial(attempt.number) for attempt in attempts]
    deleted = 0
    for attempt, trial in zip(attempts, trials, strict=True):
        if is_orphan(trial, attempt.attempt, attempt.checkpoint):
            files.checkpoints.remove_attempt(attempt)
            deleted += 1
        elif trial is not None and trial.checkpoint == attempt.checkpoint:
            files.checkpoints.finish_commit(attempt)
    return deleted
