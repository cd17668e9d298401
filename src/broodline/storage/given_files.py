"""The files of a store that several hosts share: they lie in a directory that is given, and each study's directory is marked.

Theory of operation. Such a store proves nothing about files: every host can reach it, and a path such as /data/files may be a
shared file system on one host and an empty local disk on the next. So each study has a UUID in the store, and its directory
carries that UUID. A process compares both before it asks, trains or deletes:

======================================================  ==================================================================
the directory of the study                              the claim
======================================================  ==================================================================
carries the UUID of the study                           uses it
carries another one, or holds files and carries none    is refused
is vacant, and nothing can be missed in it              marks it
is vacant, and the records name checkpoints             is refused
is vacant, and another directory was marked before      is refused while that one may exist: it may be the one of all others
is known from the record alone, and carries no UUID     is refused: a writer of the record could name any directory
======================================================  ==================================================================

The store records the place of the directory (`HOST:PATH`) before the directory is marked, by a comparison with the former
record. So of two hosts that find two vacant directories at the same moment, one is refused. A process that dies between both
steps leaves a record of a vacant directory on its own host, which the next claim there marks.
"""

from __future__ import annotations

import socket
import uuid
from dataclasses import replace
from pathlib import Path

from broodline.errors import FilesMissing, StoreError, StoreMissing, StudyNotFound, UsageError
from broodline.storage.base import FilesRecord, Store
from broodline.storage.files_place import OpenedStore, StudyDirectory
from broodline.storage.root import identity_in, is_vacant, mark

NAME = "broodline.files"


class GivenFiles:
    """Finds and claims the directories of studies in a directory that is given.

    Args:
        url: The URL of the store; not used, the place does not follow from it.
        files: The directory that the user gave.
        default: The directory for a study that has none yet; None: a claim is refused then.
    """

    is_given = True

    def __init__(self, url: str, *, files: Path | None, default: Path | None) -> None:
        self._given, self._default = files, default

    def check_new(self) -> None:
        """A directory carries the identity of a study, so a new database finds nothing of its own."""

    def find(self, study: str, opened: OpenedStore) -> StudyDirectory:
        try:
            with opened() as store:
                record = store.files_record(study)
        except StoreMissing:
            record = None
        root = self._root(study, record) or Path(NAME).absolute() / study
        return StudyDirectory(root=root, carrier=root, identity=None if record is None else record.id)

    def claim(self, study: str, opened: OpenedStore, *, create: bool) -> StudyDirectory:
        with opened() as store:
            while True:
                record = _record_of(store, study, create=create)
                root = self._root(study, record)
                if root is None:
                    raise UsageError(f"study '{study}' has no directory for its files yet\nhelp: name one with --files DIR")
                if self._given is None and self._default is None and identity_in(root) != record.id:
                    raise _missing(study, root, record, "directory")
                try:
                    if _is_claimed(store, study, record, root, create=create):
                        return StudyDirectory(root=root, carrier=root, identity=record.id)
                except OSError as error:
                    place = error.filename or root
                    raise StoreError(
                        f"{place}: can't be written: {error.strerror}\nhelp: choose another directory with --files DIR"
                    ) from error

    def _root(self, study: str, record: FilesRecord | None) -> Path | None:
        """The directory of a study: the given one; else of the default and the recorded one the one that proves to be right."""
        if self._given is not None:
            return self._given / study
        noted = _path_of(record)
        candidates = [root for root in (self._default and self._default / study, noted) if root is not None]
        right = (root for root in candidates if record is not None and identity_in(root) == record.id)
        return next(right, next(iter(candidates), None))


def _record_of(store: Store, study: str, *, create: bool) -> FilesRecord:
    """The record of a study's directory; the UUID of a new study is made here.

    Raises:
        StudyNotFound: There is neither a record nor such a study, and none is to be created.
    """
    while (record := store.files_record(study)) is None:
        if not create:
            with store.snapshot(study):  # which refuses a study that is not there
                pass
        store.replace_files_record(study, None, FilesRecord(id=uuid.uuid4().hex))
    return record


def _is_claimed(store: Store, study: str, record: FilesRecord, root: Path, *, create: bool) -> bool:
    """Claims a directory; returns False if another process changed the record in the meantime.

    Raises:
        FilesMissing: It is vacant, and the files of the study lie elsewhere.
        StoreError: It belongs to another study, or may.
        OSError: It can't be written.
    """
    carried, here = identity_in(root), f"{socket.gethostname()}:{root}"
    if carried != record.id:
        _check_usable(study, root, carried)
        _check_not_missed(store, study, record, root, create=create)
    if record.place != here and not store.replace_files_record(study, record, replace(record, place=here)):
        return False
    if carried != record.id:
        root.parent.mkdir(parents=True, exist_ok=True)
        mark(root, record.id)
    return True


def _check_usable(study: str, root: Path, carried: str | None) -> None:
    if carried is not None:
        raise StoreError(
            f"{root}: belongs to another study than '{study}' of this store (identity {carried})\n"
            "help: choose another directory with --files DIR, or delete that one if its study is gone"
        )
    if not is_vacant(root):
        raise StoreError(
            f"{root}: holds files, and does not show that they belong to study '{study}' of this store\n"
            "help: choose another directory with --files DIR, or move that one away"
        )


def _check_not_missed(store: Store, study: str, record: FilesRecord, root: Path, *, create: bool) -> None:
    """Refuses a vacant directory if the files of the study lie, or may lie, in another one."""
    try:
        with store.snapshot(study) as records:
            named = records.has_checkpoints()
    except StudyNotFound:
        if create:
            return  # nothing of a study that is made now can be missed
        raise
    marked = record.place is not None and _may_exist(record)
    if not named and not marked:
        return
    raise _missing(study, root, record, "directory with the checkpoints" if named else "directory")


def _missing(study: str, root: Path, record: FilesRecord, what: str) -> FilesMissing:
    last = "" if record.place is None else f"; it was last used as {record.place}"
    return FilesMissing(
        f"{root}: the {what} of study '{study}' is not there{last}; nothing was changed\n"
        "help: name it with --files DIR, mount or restore it; `broodline gc --forget-missing` gives it up"
    )


def _may_exist(record: FilesRecord) -> bool:
    """True if the recorded directory is there, or is one of another host, which can't be seen from here."""
    host, _, path = (record.place or "").partition(":")
    return host != socket.gethostname() or identity_in(Path(path)) == record.id


def _path_of(record: FilesRecord | None) -> Path | None:
    return None if record is None or record.place is None else Path(record.place.partition(":")[2])
