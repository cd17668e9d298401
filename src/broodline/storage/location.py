"""Where studies live: a store, and the directory beside it with their checkpoints and logs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from broodline.errors import StoreError
from broodline.storage.base import Store, Transaction
from broodline.storage.checkpoints.local import StudyFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLocation:
    """A store's URL, and what follows from it.

    Args:
        url: The store's URL; a relative path is made absolute, so that a worker may stand in another directory.
    """

    url: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", absolute(self.url))

    def open(self, *, create: bool = True) -> Store:
        """Opens the store.

        Raises:
            StoreError: It can't be used.
        """
        return open_store(self.url, create=create)

    @contextmanager
    def records(self, study: str) -> Iterator[Transaction]:
        """A consistent view of a study's records.

        Raises:
            StoreError: There is no such store; none is created.
            StudyNotFound: The store has no such study.
        """
        with closing(self.open(create=False)) as store, store.snapshot(study) as records:
            yield records

    def files(self, study: str, *, checksums: bool = False) -> StudyFiles:
        """The files of a study."""
        return StudyFiles(files_of(self.url) / study, checksums=checksums)


def default_location(path: Path) -> StudyLocation:
    """The default: `broodline.db` in the directory of a study file."""
    return StudyLocation(url=f"sqlite:///{path.absolute().parent / 'broodline.db'}")


IN_MEMORY = "sqlite://"


def open_store(url: str, *, create: bool = True) -> Store:
    """Opens the store at a URL; `sqlite:///PATH` is the only kind so far.

    Args:
        url: Three slashes begin a relative path, four an absolute one; `sqlite://` alone is a database in memory.
        create: Make the database if it isn't there.

    Raises:
        StoreError: The URL or the database can't be used.
    """
    from broodline.storage.sqlite.store import SqliteStore

    return SqliteStore(None if url == IN_MEMORY else _path_in(url), create=create)


def absolute(url: str) -> str:
    """The same store, named so that it does not depend on the current directory.

    Raises:
        StoreError: The URL names no store.
    """
    return url if url == IN_MEMORY else f"sqlite:///{_path_in(url).absolute()}"


def files_of(url: str) -> Path:
    """The directory beside the store in which its studies keep their checkpoints and logs."""
    path = _path_in(url)
    return path.with_name(path.stem + ".files")


def _path_in(url: str) -> Path:
    path = url.removeprefix("sqlite:///")
    if path in ("", url):
        raise StoreError(f"'{url}' names no store: write sqlite:///PATH (four slashes begin an absolute path)")
    return Path(path)
