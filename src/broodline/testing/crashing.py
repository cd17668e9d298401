"""A store whose process dies in a transaction: before its commit, or after the commit and before the caller has its answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto

from broodline.storage.base import Store, Transaction
from broodline.storage.wrapper import StoreWrapper


class Crash(Exception):
    """Raised in place of the death of the process that made a call; the caller may repeat the call."""


class Moment(Enum):
    """The moment at which the process dies."""

    BEFORE_COMMIT = auto()
    AFTER_COMMIT = auto()


class CrashingStore(StoreWrapper):
    """A store whose next transaction ends in a crash; those after it end well.

    Args:
        store: The store with the studies.
        crash: The moment of the crash in the next transaction; None: no crash.
    """

    def __init__(self, store: Store, crash: Moment | None = None) -> None:
        super().__init__(store)
        self.crash = crash

    @contextmanager
    def transaction(self, study: str) -> Iterator[Transaction]:
        crash, self.crash = self.crash, None
        with self.wrapped.transaction(study) as transaction:
            yield transaction
            if crash is Moment.BEFORE_COMMIT:
                raise Crash
        if crash is Moment.AFTER_COMMIT:
            raise Crash
