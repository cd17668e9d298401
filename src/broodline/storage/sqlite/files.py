"""The files of a SQLite store: a directory next to its database, which carries the identity of the database."""

from __future__ import annotations

from pathlib import Path

from broodline.errors import UsageError
from broodline.storage.files_place import OpenedStore, StudyDirectory
from broodline.storage.sqlite.claims import check_new, claim, root_for
from broodline.storage.sqlite.identity import identity_of
from broodline.storage.urls import sqlite_path


class FilesNextToDatabase:
    """Finds the files of studies next to their database; see `claims`.

    Args:
        url: `sqlite:///PATH`.
        files, default: Not used: the place follows from the path.

    Raises:
        StoreError: The URL has no path.
        UsageError: `files` is given.
    """

    is_given = False

    def __init__(self, url: str, *, files: Path | None, default: Path | None) -> None:
        self._path = sqlite_path(url)
        if files is not None:
            raise UsageError(
                f"{files}: the files of a SQLite store lie in a directory next to the database {self._path.name}\n"
                "help: leave out --files, or choose the place of both with --store sqlite:///PATH"
            )

    def check_new(self) -> None:
        check_new(self._path)

    def find(self, study: str, _opened: OpenedStore) -> StudyDirectory:
        identity = identity_of(self._path)
        root = root_for(self._path, identity)
        return StudyDirectory(root=root / study, carrier=root, identity=identity.id or None if identity else None)

    def claim(self, study: str, _opened: OpenedStore, *, create: bool) -> StudyDirectory:
        claimed = claim(self._path)
        return StudyDirectory(root=claimed.root / study, carrier=claimed.root, identity=claimed.id, note=claimed.note)
