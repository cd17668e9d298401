"""The identity of a store: a UUID in its database, which the directory of its files carries too.

Theory of operation: a path is no proof
---------------------------------------

The name of a database leads to a directory, and does not prove that its files belong to that database. Two databases can share a
name but for the last dot, a directory can be absent because its disk is not mounted, and a copy has all names of its original.
So each database has a UUID, and the directory of its files carries the same one. `claims` compares both before a worker asks,
trains or deletes anything.

Besides its UUID, and the name of its directory, a database notes two things:

* `place`, the path at which it was last claimed. A database that is claimed at another path was moved if there is nothing of
  that UUID at the former place, and is a copy otherwise.
* `adopts`, the UUID that its directory may still carry ("" stands for none). It is set before a directory gets its UUID and
  cleared afterwards, so a crash between the two leaves a directory that is recognised.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from broodline.errors import StoreError, StoreUnavailable

_BUSY_SECONDS = 30.0
_COLUMNS = "id, adopts, place, files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The identity of a store, as its database holds it.

    Args:
        id: The UUID; empty for the database of a version that had none.
        adopts: The UUID that the directory of its files may still carry, "" for none; None: only that of `id`.
        place: The resolved path at which the database was last claimed.
        files: The name of the directory that was claimed, which follows no later name of the database.
    """

    id: str
    adopts: str | None = None
    place: str | None = None
    files: str | None = None

    @property
    def may_adopt(self) -> bool:
        """True if the directory of its files was made by a version without identities, and has none yet."""
        return self.adopts == ""

    def owns(self, carried: str | None) -> bool:
        """True if a directory that carries this UUID is the one of this store."""
        return bool(carried) and carried in (self.id, self.adopts)


def identity_of(path: Path) -> Identity | None:
    """The identity of the database at a path; None if there is no database of broodline that can be read."""
    if not path.is_file():
        return None
    try:
        with _reading(path) as connection:
            return _read(connection)
    except sqlite3.Error:
        return None


def change_identity(path: Path, change: Callable[[Identity], Identity]) -> Identity:
    """Replaces the identity of a database in one transaction, if it changes, and returns it.

    Raises:
        StoreError: The database can't be written.
        StoreUnavailable: The database does not answer at the moment.
    """
    try:
        with _connected(path, "mode=rw") as connection:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE")
            before = _read(connection) or Identity(id="", adopts="")
            after = change(before)
            if after != before:
                values = (after.id, after.adopts, after.place, after.files)
                connection.execute(f"UPDATE identity SET ({_COLUMNS}) = (?, ?, ?, ?)", values)
            connection.execute("COMMIT")
            return after
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY:
            raise StoreError(f"{path}: can't be written, so this study can only be read") from error
        raise StoreUnavailable(f"{path}: {error}") from error


def has_checkpoints(path: Path) -> bool:
    """True if the records of any study in a database name a checkpoint.

    Raises:
        StoreUnavailable: The database does not answer at the moment.
    """
    try:
        with _reading(path) as connection:
            return connection.execute("SELECT 1 FROM trials WHERE checkpoint IS NOT NULL LIMIT 1").fetchone() is not None
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path}: {error}") from error


def same_file(one: Path, other: Path) -> bool:
    """True if two paths lead to one file or directory, which other names and other mounts of it do."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to read from. Where the log can't be written, SQLite reads a database only as one that never changes."""
    writable = all(os.access(each, os.W_OK) for each in (path, path.parent))
    with _connected(path, "mode=rw" if writable else "mode=ro&immutable=1") as connection:
        yield connection


@contextmanager
def _connected(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    url = f"file:{quote(str(path))}?{mode}"  # no mode that is used here creates a database
    with closing(sqlite3.connect(url, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
        yield connection


def _read(connection: sqlite3.Connection) -> Identity | None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "broodline" not in tables:
        return None
    row = connection.execute(f"SELECT {_COLUMNS} FROM identity").fetchone() if "identity" in tables else None
    return Identity(id="", adopts="") if row is None else Identity(id=row[0], adopts=row[1], place=row[2], files=row[3])
