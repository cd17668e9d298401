"""Every store keeps the contract of stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from broodline.storage.base import Store
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing import FakeClock, StoreContract


class TestSqliteInMemory(StoreContract):
    def open_store(self, clock: FakeClock) -> Store:
        return SqliteStore(None, clock=clock)


class TestSqliteInAFile(StoreContract):
    @pytest.fixture(autouse=True)
    def directory(self, tmp_path: Path) -> None:
        self.path = tmp_path / "broodline.db"

    def open_store(self, clock: FakeClock) -> Store:
        return SqliteStore(self.path, clock=clock)

    def test_what_was_committed_is_there_for_others_and_what_was_not_is_not(self, store: Store, clock: FakeClock) -> None:
        other = self.open_store(clock)
        with other.snapshot("s") as before:
            with store.transaction("s") as transaction:
                transaction.redefine("new")
            assert before.definition() == "{}"
        with other.snapshot("s") as after:
            assert after.definition() == "new"
        other.close()
