"""Deletes a study: its records and its files, and nothing of the other studies in its store.

Theory of operation. The records go first, in one transaction, and the files after them. A process that dies in between leaves
files without a study. The same call deletes those; a new study of that name would delete the checkpoints among them too.
"""

from __future__ import annotations

from dataclasses import dataclass

from broodline.controller.access import client_of
from broodline.core.trial import TrialState
from broodline.errors import StoreError, StudyBusy, StudyNotFound
from broodline.storage.disk import delete, size_of
from broodline.storage.location import OpenStudy, StudyLocation
from broodline.storage.root import IDENTITY_FILE
from broodline.storage.study_files import StudyFiles
from broodline.studies.recovery import recover
from broodline.studies.sole_run import sole_run
from broodline.workers.liveness import has_sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class Removable:
    """The records and files that the deletion of a study deletes.

    Args:
        trials: The number of its trials.
        bytes: The size of its files.
    """

    trials: int
    bytes: int


def removable(location: StudyLocation, name: str) -> Removable:
    """The records and files that the deletion of a study would delete.

    Raises:
        StudyNotFound: There is neither a study of that name nor a directory of its files.
        StoreError: The store can't be used.
    """
    with location.open_study(name) as study:
        return _content(study)


def remove(location: StudyLocation, name: str) -> Removable:
    """Deletes a study, and returns what was deleted.

    Raises:
        StudyBusy: A run or a worker trains it.
        StudyNotFound: There is neither a study of that name nor a directory of its files.
        StoreError: The store can't be used, or a file can't be deleted.
    """
    with location.open_study(name) as study:
        content = _content(study)
        with sole_run(study.files, name):
            if name in study.store.studies():
                # Programs of killed workers must not write into a deleted directory.
                recover(study.store, client_of(study.store), name, study.files)
                _refuse_if_trained(study)
                study.store.delete(name)
            _delete_files(study.files)
        if (record := study.store.files_record(name)) is not None:  # last: until then the rest of the files proves whose it is
            study.store.replace_files_record(name, record, None)
        return content


def _content(study: OpenStudy) -> Removable:
    size = size_of(study.files.root)
    if study.name in study.store.studies():
        with study.snapshot() as records:
            return Removable(trials=records.progress().trials, bytes=size)
    if not study.files.root.is_dir():
        raise StudyNotFound(f"the store has no study '{study.name}' (its studies: {', '.join(study.store.studies()) or 'none'})")
    return Removable(trials=0, bytes=size)


def _refuse_if_trained(study: OpenStudy) -> None:
    """Refuses a study that workers train which joined it here or elsewhere."""
    with study.snapshot() as records:
        running = [trial for trial in records.unfinished() if trial.state is TrialState.RUNNING]
        trained = any(trial.lease_until is not None and trial.lease_until >= records.now for trial in running)
    if trained or has_sessions(study.files.workers):
        raise StudyBusy(f"study '{study.name}' is being trained by a worker\nhelp: `broodline stop --now` ends it")


def _delete_files(files: StudyFiles) -> None:
    for attempt in files.checkpoints.attempts():  # they may lie in another place than the rest
        files.checkpoints.remove_attempt(attempt)
    files.checkpoints.close()
    for entry in files.root.glob("*"):
        if files.marked != files.root or entry.name != IDENTITY_FILE:  # last of all: a repeated call must know the directory
            delete(entry)
    delete(files.root)
    if files.root.exists():
        raise StoreError(f"{files.root}: can't be deleted completely; its records are deleted, so delete this directory by hand")
