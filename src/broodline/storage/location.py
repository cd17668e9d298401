"""The location of studies: a store, and next to it the directory of their checkpoints and logs.

This is the one place that joins the two. URLs name them, and the part before `://` selects the implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from broodline.errors import StoreError, UsageError
from broodline.registry import CHECKPOINT_STORES, STORE_FILES, STORE_UPGRADES, STORES, Registry
from broodline.storage.base import Store, Transaction
from broodline.storage.checkpoints.base import CheckpointStore
from broodline.storage.files_place import FilesPlace, FilesPlaceType, StudyDirectory
from broodline.storage.given_files import NAME as FILES_NAME
from broodline.storage.given_files import GivenFiles
from broodline.storage.study_files import StudyFiles
from broodline.storage.urls import SQLITE, absolute, scheme_of, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStudy:
    """A study whose store is open.

    Args:
        name: Its name. The study need not exist yet.
        store: Its store.
        files: Its checkpoints and logs.
        location: The location with which another process of this machine finds the same store and files.
        note: A line for the user about the store's identity; empty in the common case.
    """

    name: str
    store: Store
    files: StudyFiles
    location: StudyLocation
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
        files: The directory of the files of its studies; None: it follows from the URL, or from the records of the store. The
            files of a SQLite store lie next to the database.
        default_files: The directory for a study that has none yet, if `files` is None.

    Raises:
        StoreError: The URL names no store.
        UsageError: `files` is given, and the files of this store lie elsewhere.
    """

    url: str = field(repr=False)  # it may hold a password
    files: Path | None = field(default=None, compare=False)
    default_files: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", absolute(self.url))
        for name in ("files", "default_files"):
            path: Path | None = getattr(self, name)
            object.__setattr__(self, name, None if path is None else path.absolute())

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
            self.check_new()
        with closing(self.open(create=create)) as store:
            claimed = self._place.claim(name, lambda: nullcontext(store), create=create)
            files = _files_of(claimed, checksums=checksums)
            with closing(files.checkpoints):
                yield OpenStudy(name=name, store=store, files=files, location=self.settled(claimed), note=claimed.note)

    def claimed_files(self, study: str, *, note: Callable[[str], object] = lambda _: None) -> StudyFiles:
        """The files of a study, whose directory is claimed: files may be deleted in it.

        Args:
            study: The study's name.
            note: Receives a line for the user, if the claim has one.

        Raises:
            FilesMissing: The directory is not there.
            StoreError: The directory belongs to another store.
        """
        claimed = self.claim(study)
        if claimed.note:
            note(claimed.note)
        return _files_of(claimed)

    def claim(self, study: str) -> StudyDirectory:
        """Makes sure that the directory of the files is the right one, and that it shows that. The store must exist.

        Raises:
            FilesMissing: The directory is not there.
            StoreError: The directory belongs to another store or study.
        """
        return self._place.claim(study, self._opened, create=False)

    def forget_files(self, study: str) -> None:
        """Gives up the directory of a study, so that another one can be used. Its checkpoints must be given up first."""
        with self._opened() as store:
            if (record := store.files_record(study)) is not None:
                store.replace_files_record(study, record, replace(record, place=None))

    def check_new(self) -> None:
        """Refuses a database that is gone while the directory of its files is still there.

        Raises:
            StoreError: It is.
        """
        self._place.check_new()

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

    def files_of(self, study: str, *, checksums: bool = False) -> StudyFiles:
        """The files of a study, for reading: nothing is claimed, and the directory need not exist.

        Raises:
            StoreUnavailable: The store does not answer at the moment.
        """
        return _files_of(self._place.find(study, self._opened), checksums=checksums)

    def settled(self, claimed: StudyDirectory) -> StudyLocation:
        """The same location for another process of this machine, with the directory that was claimed."""
        return replace(self, files=claimed.root.parent if self._place.is_given else None, default_files=None)

    @property
    def _place(self) -> FilesPlace:
        scheme = scheme_of(self.url)
        made: FilesPlaceType = STORE_FILES.load(scheme) if STORE_FILES.has(scheme) else GivenFiles
        return made(self.url, files=self.files, default=self.default_files)

    def _opened(self) -> AbstractContextManager[Store]:
        return closing(self.open(create=False))


def default_location(path: Path) -> StudyLocation:
    """The default: `broodline.db` in the directory of a study file."""
    return StudyLocation(url=f"{SQLITE}{path.absolute().parent / 'broodline.db'}")


def location_of(url: str, *, files: Path | None, near: Path) -> StudyLocation:
    """The location of a study in a store that the user names.

    Args:
        url: The store's URL.
        files: The directory of the files, if the user names it.
        near: The directory of the study file, which holds the files of a study that has no directory yet.
    """
    return StudyLocation(url=url, files=files, default_files=near / FILES_NAME)


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


def upgrade_store(url: str) -> Any:
    """Brings the tables of a store up to date, and returns the versions `before` and `after`.

    Raises:
        StoreError: The store can't be used, is in use, or is of a newer version.
    """
    return _implementation(STORE_UPGRADES, url)(absolute(url))


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
        identity: the identity that the directory around it carries; None: there is none.
    """
    here = root.absolute()
    return StudyFiles(root=here, checkpoints=open_checkpoints(here.as_uri(), checksums=checksums), identity=identity)


def _files_of(found: StudyDirectory, *, checksums: bool = False) -> StudyFiles:
    return replace(files_in(found.root, checksums=checksums, identity=found.identity), carrier=found.carrier)


def _implementation(registry: Registry, url: str) -> Any:
    try:
        return registry.load(scheme_of(url))
    except UsageError as error:
        raise StoreError(f"'{shown(url)}' names no store: {error}") from None
