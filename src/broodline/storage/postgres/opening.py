"""Opens a PostgreSQL store, or explains which package is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broodline.errors import StoreError

if TYPE_CHECKING:
    from broodline.storage.postgres.store import PostgresStore


def open_url(url: str, *, create: bool = True) -> PostgresStore:
    """The store of the schemes `postgresql` and `postgres`: any URL of libpq, such as `postgresql://USER@HOST/DATABASE`.

    Raises:
        StoreError: The driver is not installed, or the URL or the database can't be used.
        StoreUnavailable: The server does not answer at the moment.
    """
    try:
        from broodline.storage.postgres.store import PostgresStore
    except ImportError as error:
        raise StoreError(f"a PostgreSQL store needs psycopg ({error})\nhelp: pip install 'broodline[postgres]'") from error
    return PostgresStore(url, create=create)
