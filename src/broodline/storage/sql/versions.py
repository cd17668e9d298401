"""The versions of a store's tables: the messages about tables of another version, and the result of an upgrade."""

from __future__ import annotations

from dataclasses import dataclass

from broodline.errors import StoreError
from broodline.storage.sql import schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """The result of an upgrade.

    Args:
        before: The version of the tables before.
        after: The version that they have now.
    """

    before: int
    after: int


def check_not_newer(found: int, name: object) -> None:
    """Refuses tables of a newer version.

    Raises:
        StoreError: They are newer.
    """
    if found > schema.VERSION:
        raise StoreError(
            f"{name}: this store was written by a newer broodline (schema {found}; this one knows {schema.VERSION})\n"
            "help: upgrade broodline, or use another --store"
        )


def older(found: int, name: object, rest: str) -> StoreError:
    """The error for tables of an older version that are not upgraded; the rest of the message gives the reason."""
    return StoreError(
        f"{name}: this store was written by an older broodline (schema {found}; this one needs {schema.VERSION}){rest}"
    )
