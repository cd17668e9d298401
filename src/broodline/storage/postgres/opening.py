"""Opens a PostgreSQL store, or explains which package is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from broodline.errors import StoreError

if TYPE_CHECKING:
    from broodline.storage.postgres.store import PostgresStore
    from broodline.storage.sql.versions import Upgrade


def open_url(url: str, *, create: bool = True) -> PostgresStore:
    """The store of the schemes `postgresql` and `postgres`: any URL of libpq, such as `postgresql://USER@HOST/DATABASE`.

    Raises:
        StoreError: The driver is not installed, or the URL or the database can't be used.
        StoreUnavailable: The server does not answer at the moment.
    """
    with _explained():
        from broodline.storage.postgres.store import PostgresStore
    return PostgresStore(url, create=create)


def upgrade(url: str) -> Upgrade:
    """Brings the tables of a store up to date.

    Raises:
        StoreError: The driver is not installed, a run or a worker uses the store, or it can't be used.
        StoreUnavailable: The server does not answer at the moment.
    """
    with _explained():
        from broodline.storage.postgres import upgrading
    return upgrading.upgrade(url)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise StoreError(f"a PostgreSQL store needs psycopg ({error})\nhelp: pip install 'broodline[postgres]'") from error
