"""The location of studies: a store, and next to it the directory of their checkpoints and logs.

This is the one place that joins the two. URLs name them, and the part before `://` selects the implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broodline.errors import StoreError, UsageError
from broodline.registry import CHECKPOINT_STORES, STORES, Registry
from broodline.storage.base import Store, Transaction
from broodline.storage.checkpoints.base import CheckpointStore
from broodline.storage.claims import Claim, check_new, claim, root_for
from broodline.storage.identity import identity_of
from broodline.storage.study_files import StudyFiles
from broodline.storage.urls import SQLITE, absolute, scheme_of, sqlite_path


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStudy:
    """A study whose store is open.

    Args:
        name: Its name. The study need not exist yet.
        store: Its store.
        files: Its checkpoints and logs.
        note: A line for the user about the store's identity; empty in the common case.
    """

    name: str
    store: Store
    files: StudyFiles
    note: str = ""

    def snapshot(self) -> AbstractContextManager[Transaction]:
        """A consistent view of its records, to read from; it blocks no writer.

        Raises:
            StudyNotFound: The store has no such study.
        """
        return self.store.snapshot(self.name)

    def transaction(self) -> AbstractContextManager[Transaction]:
        """A transaction on its records.

        Raises:
            StudyNotFound: The store has no such study.
        """
        return self.store.transaction(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLocation:
    """A store's URL, and the places that follow from it.

    Args:
        url: The store's URL. Its path is made absolute and resolved, so that a worker can run in another directory.
    """

    url: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", absolute(self.url))

    @contextmanager
    def open_study(self, name: str, *, create: bool = False, checksums: bool = False) -> Iterator[OpenStudy]:
        """Opens the store of a study and claims its files, and closes both at the end.

        Args:
            name: The study's name.
            create: Create the database if it does not exist. The study itself is created by the controller.
            checksums: Write the SHA-256 of each file into the manifests of new checkpoints.

        Raises:
            FilesMissing: The directory of the files is not there.
            StoreError: The store can't be used, or the directory belongs to another one.
        """
        if create:
            check_new(sqlite_path(self.url))
        with closing(self.open(create=create)) as store:
            claimed = self.claim()
            files = _files(claimed, name, checksums=checksums)
            with closing(files.checkpoints):
                yield OpenStudy(name=name, store=store, files=files, note=claimed.note)

    def claimed_files(self, study: str, *, note: Callable[[str], object] = lambda _: None) -> StudyFiles:
        """The files of a study, whose directory is claimed: files may be deleted in it.

        Args:
            study: The study's name.
            note: Receives a line for the user, if the claim has one.

        Raises:
            FilesMissing: The directory is not there.
            StoreError: The directory belongs to another store.
        """
        claimed = self.claim()
        if claimed.note:
            note(claimed.note)
        return _files(claimed, study)

    def claim(self) -> Claim:
        """Makes sure that the directory of the files carries the identity of the store, which must exist.

        Raises:
            FilesMissing: The directory is not there.
            StoreError: The directory belongs to another store.
        """
        return claim(sqlite_path(self.url))

    def open(self, *, create: bool = True) -> Store:
        """Opens the store.

        Raises:
            StoreError: The store can't be used.
        """
        return open_store(self.url, create=create)

    @contextmanager
    def records(self, study: str) -> Iterator[Transaction]:
        """A consistent view of a study's records.

        Raises:
            StoreError: The store does not exist, and is not created.
            StudyNotFound: The store has no such study.
        """
        with closing(self.open(create=False)) as store, store.snapshot(study) as records:
            yield records

    def files(self, study: str, *, checksums: bool = False) -> StudyFiles:
        """The files of a study, for reading: nothing is claimed, and the directory need not exist."""
        path = sqlite_path(self.url)
        identity = identity_of(path)
        return files_in(root_for(path, identity) / study, checksums=checksums, identity=identity.id or None if identity else None)


def default_location(path: Path) -> StudyLocation:
    """The default: `broodline.db` in the directory of a study file."""
    return StudyLocation(url=f"{SQLITE}{path.absolute().parent / 'broodline.db'}")


def open_store(url: str, *, create: bool = True) -> Store:
    """Opens the store at a URL.

    Args:
        url: `sqlite:///PATH` (four slashes begin an absolute path), or a URL of another installed scheme; `sqlite://` alone
            is a database in memory.
        create: Create the database if it does not exist.

    Raises:
        StoreError: The URL or the database can't be used.
    """
    opened: Store = _implementation(STORES, url)(url, create=create)
    return opened


def open_checkpoints(url: str, *, checksums: bool = False) -> CheckpointStore:
    """Opens the checkpoint store at a URL.

    Args:
        url: `file:///PATH`, or a URL of another installed scheme.
        checksums: Write the SHA-256 of each file into the manifests of new checkpoints.

    Raises:
        StoreError: The URL can't be used.
    """
    opened: CheckpointStore = _implementation(CHECKPOINT_STORES, url)(url, checksums=checksums)
    return opened


def files_in(root: Path, *, checksums: bool = False, identity: str | None = None) -> StudyFiles:
    """The files of a study whose checkpoints lie in its directory on this machine.

    Args:
        root: The directory of the study.
        checksums: As in `open_checkpoints`.
        identity: The identity that the directory around it carries; None: it belongs to no store.
    """
    here = root.absolute()
    return StudyFiles(root=here, checkpoints=open_checkpoints(here.as_uri(), checksums=checksums), identity=identity)


def _files(claimed: Claim, study: str, *, checksums: bool = False) -> StudyFiles:
    return files_in(claimed.root / study, checksums=checksums, identity=claimed.id)


def _implementation(registry: Registry, url: str) -> Any:
    try:
        return registry.load(scheme_of(url))
    except UsageError as error:
        raise StoreError(f"'{url}' names no store: {error}") from None
