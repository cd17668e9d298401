"""The seam between a store and the files of its studies: where they lie, and how a process proves that it sees the right ones.

A store's URL scheme selects the implementation, as it selects the store. SQLite keeps the files next to its database
(`sqlite/files.py`). The files of every other store lie in a directory that is given (`given_files.py`), unless the package of
the store registers a class of its own under `broodline.store_files`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from broodline.storage.base import Store

OpenedStore = Callable[[], AbstractContextManager[Store]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyDirectory:
    """The directory of one study's files.

    Args:
        root: The directory.
        carrier: The directory that carries the identity: `root`, or the one around it.
        identity: The identity that `carrier` must carry; None: there is none yet, or it can't be read.
        note: A line for the user; empty in the common case.
    """

    root: Path
    carrier: Path
    identity: str | None
    note: str = ""


class FilesPlace(Protocol):
    """Finds the directories of studies. A store may be opened for it, by `opened`."""

    @property
    def is_given(self) -> bool:
        """True if the directory is one that a user gives; False if it follows from the URL of the store."""

    def check_new(self) -> None:
        """Refuses to create a database whose files are still there.

        Raises:
            StoreError: They are.
        """

    def find(self, study: str, opened: OpenedStore) -> StudyDirectory:
        """The directory of a study, to read from: nothing is refused, and the directory need not exist.

        Raises:
            StoreUnavailable: The store does not answer at the moment.
        """

    def claim(self, study: str, opened: OpenedStore, *, create: bool) -> StudyDirectory:
        """The directory of a study, after a proof that it is the right one; a vacant one is marked.

        Args:
            study: The study's name.
            opened: Opens the store.
            create: The study need not exist yet.

        Raises:
            FilesMissing: The records name checkpoints, and the directory is not there.
            StoreError: The directory belongs to another store or study, or can't be written.
            StudyNotFound: There is neither such a study nor its directory.
            UsageError: The directory is not known.
        """


class FilesPlaceType(Protocol):
    """A registered class: makes the `FilesPlace` of a store."""

    def __call__(self, url: str, *, files: Path | None, default: Path | None) -> FilesPlace:
        """Makes it.

        Args:
            url: The URL of the store.
            files: The directory that the user gave.
            default: The directory for a study that has none yet.

        Raises:
            StoreError: The URL names no store of this kind.
            UsageError: The files of this store lie elsewhere than in a directory that is given.
        """
