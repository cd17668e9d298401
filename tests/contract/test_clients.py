"""Every client keeps the contract of clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from postgres import Server

from broodline.controller.client import Client
from broodline.controller.controller import Controller
from broodline.core.study import StudyConfig
from broodline.storage.postgres.store import PostgresStore
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing import ClientContract, FakeClock


class TestController(ClientContract):
    @pytest.fixture(autouse=True)
    def opened(self, tmp_path: Path) -> Iterator[None]:
        self.path = tmp_path / "broodline.db"
        with ExitStack() as self.stores:
            yield

    def open_client(self, study: StudyConfig, clock: FakeClock) -> Client:
        controller = Controller(self.stores.enter_context(closing(SqliteStore(self.path, clock=clock))))
        controller.open(study)
        return controller


class TestControllerOnPostgres(ClientContract):
    @pytest.fixture(autouse=True)
    def opened(self, postgres: Server) -> Iterator[None]:
        self.server = postgres
        with ExitStack() as self.stores:
            yield

    def open_client(self, study: StudyConfig, clock: FakeClock) -> Client:
        store = PostgresStore(self.server.new_schema(), clock=clock)
        controller = Controller(self.stores.enter_context(closing(store)))
        controller.open(study)
        return controller
