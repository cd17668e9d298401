"""A store whose process dies when it is told to: before a commit, or after it and before anybody hears of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import Enum, auto

from broodline.storage.base import Store, Transaction


class Crash(Exception):
    """The process that made a call died; whoever made it may make it again."""


class Moment(Enum):
    """When a process dies."""

    BEFORE_COMMIT = auto()
    AFTER_COMMIT = auto()


class CrashingStore:
    """A store of which one transaction, the next, does not end well.

    Args:
        store: Where the studies are.
        crash: When the process of the next transaction dies; None: not at all.
    """

    def __init__(self, store: Store, crash: Moment | None = None) -> None:
        self._store, self.crash = store, crash

    def create(self, name: str, definition: str) -> bool:
        return self._store.create(name, definition)

    def studies(self) -> tuple[str, ...]:
        return self._store.studies()

    @contextmanager
    def transaction(self, study: str) -> Iterator[Transaction]:
        crash, self.crash = self.crash, None
        with self._store.transaction(study) as transaction:
            yield transaction
            if crash is Moment.BEFORE_COMMIT:
                raise Crash
        if crash is Moment.AFTER_COMMIT:
            raise Crash

    def snapshot(self, study: str) -> AbstractContextManager[Transaction]:
        return self._store.snapshot(study)

    def wait_for_change(self, seconds: float) -> None:
        self._store.wait_for_change(seconds)

    def close(self) -> None:
        self._store.close()
