"""Where studies live: a store, and the directory beside it with their checkpoints and logs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from broodline.checkpoints import StudyFiles
from broodline.stores import Store, Transaction, absolute, files_of, open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
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


def beside(path: Path) -> Place:
    """The default: `broodline.db` in the directory of a study file."""
    return Place(url=f"sqlite:///{path.absolute().parent / 'broodline.db'}")
