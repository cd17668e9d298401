"""Errors of SQLite, translated: those that can pass are `StoreUnavailable`, all others are `StoreError` and permanent.

A worker repeats a call for as long as the store is unavailable. An error that no repetition can heal must therefore end it, or
it waits for ever and only logs that the store does not answer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from broodline.errors import BroodlineError, StoreError, StoreFailing, StoreFull, StoreUnavailable
from broodline.storage.sql.rows import UnreadableRow

# The primary result codes of SQLite: https://www.sqlite.org/rescode.html
_PRIMARY = 0xFF
_CAN_PASS = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,  # the directory is not mounted, or the process has too many open files
    sqlite3.SQLITE_PROTOCOL,
}
_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_SCHEMA = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA}

_RESTORE = "\nhelp: restore it from a copy, or name another database with --store sqlite:///PATH"


@contextmanager
def translated(path: Path | None) -> Iterator[None]:
    """Replaces the errors of SQLite and SQLAlchemy that leave this context.

    Args:
        path: The file of the database, which every message names.

    Raises:
        StoreUnavailable: The database is locked, full or out of reach at the moment.
        StoreError: The database can't be used until a person repairs or replaces it.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        original = error.orig if isinstance(error.orig, sqlite3.Error) else None
        raise translation(path, original or sqlite3.DatabaseError(str(error.orig))) from error
    except sqlite3.Error as error:
        raise translation(path, error) from error
    except (UnreadableRow, UnicodeDecodeError) as error:  # of a corrupt schema SQLite's own error message can't be decoded
        raise StoreError(f"{path}: the database is corrupt ({error}){_RESTORE}") from error


def translation(path: Path | None, error: sqlite3.Error) -> BroodlineError:
    """The error to raise in place of one of SQLite."""
    code = getattr(error, "sqlite_errorcode", None)  # missing where the driver, not SQLite, found the mistake
    primary = None if code is None else code & _PRIMARY
    if primary == sqlite3.SQLITE_FULL:
        return StoreFull(f"{path}: {error}")
    if primary == sqlite3.SQLITE_IOERR:
        return StoreFailing(f"{path}: {error}")
    if primary in _CAN_PASS:
        return StoreUnavailable(f"{path}: {error}")
    if primary in _READ_ONLY:
        return StoreError(f"{path}: the database can't be written ({error})\nhelp: make the file and its directory writable")
    if primary in _SCHEMA:
        return StoreError(f"{path}: the tables of the database are not complete ({error}){_RESTORE}")
    return StoreError(f"{path}: the database is corrupt, or is not one of broodline ({error}){_RESTORE}")
