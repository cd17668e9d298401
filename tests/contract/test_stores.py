"""Every store keeps the contract of stores."""

from __future__ import annotations

from pathlib import Path

import pytest
from postgres import Server

from broodline.storage.base import Store
from broodline.storage.postgres.store import PostgresStore
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing import FakeClock, SharedStoreContract, StoreContract


class TestSqliteInMemory(StoreContract):
    def open_store(self, clock: FakeClock) -> Store:
        return SqliteStore(None, clock=clock)


class TestSqliteInAFile(SharedStoreContract):
    @pytest.fixture(autouse=True)
    def directory(self, tmp_path: Path) -> None:
        self.path = tmp_path / "broodline.db"

    def open_store(self, clock: FakeClock) -> Store:
        return SqliteStore(self.path, clock=clock)

    open_again = open_store


class TestPostgres(SharedStoreContract):
    @pytest.fixture(autouse=True)
    def schema(self, postgres: Server) -> None:
        self.url = postgres.new_schema()

    def open_store(self, clock: FakeClock) -> Store:
        return PostgresStore(self.url, clock=clock)

    open_again = open_store
