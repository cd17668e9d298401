"""A store that behaves like another one except in its transactions; tests and simulations derive from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

from broodline.storage.base import FilesRecord, Store, Transaction


class StoreWrapper(ABC):
    """Passes every call on to another store. A subclass defines what a transaction does.

    Args:
        store: The other store.
    """

    def __init__(self, store: Store) -> None:
        self.wrapped = store

    @abstractmethod
    def transaction(self, study: str) -> AbstractContextManager[Transaction]:
        """Opens a transaction of `wrapped`, and changes what this wrapper is for."""

    def create(self, name: str, definition: str) -> bool:
        return self.wrapped.create(name, definition)

    def delete(self, name: str) -> None:
        self.wrapped.delete(name)

    def studies(self) -> tuple[str, ...]:
        return self.wrapped.studies()

    def snapshot(self, study: str) -> AbstractContextManager[Transaction]:
        return self.wrapped.snapshot(study)

    def files_record(self, study: str) -> FilesRecord | None:
        return self.wrapped.files_record(study)

    def replace_files_record(self, study: str, before: FilesRecord | None, after: FilesRecord | None) -> bool:
        return self.wrapped.replace_files_record(study, before, after)

    def wait_for_change(self, seconds: float) -> None:
        self.wrapped.wait_for_change(seconds)

    def close(self) -> None:
        self.wrapped.close()
