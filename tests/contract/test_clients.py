"""Every client keeps the contract of clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from postgres import Server
from serving import Service, SharedClock, serving_by_clock

from broodline.controller.client import Client
from broodline.controller.controller import Controller
from broodline.core.study import StudyConfig
from broodline.errors import StudyNotFound
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


@pytest.fixture(scope="module")
def shared_clock(tmp_path_factory: pytest.TempPathFactory) -> SharedClock:
    return SharedClock(tmp_path_factory.mktemp("clock") / "clock")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, shared_clock: SharedClock) -> Iterator[Service]:
    with serving_by_clock(tmp_path_factory.mktemp("service"), shared_clock) as service:
        yield service


class TestHttpClient(ClientContract):
    """A client of a real service, which is another process."""

    @pytest.fixture
    def clock(self, shared_clock: SharedClock) -> FakeClock:
        shared_clock.now = FakeClock().now
        return shared_clock

    @pytest.fixture(autouse=True)
    def served(self, service: Service) -> Iterator[None]:
        self.service = service
        with ExitStack() as self.clients:
            yield

    def open_client(self, study: StudyConfig, clock: FakeClock) -> Client:
        client = self.clients.enter_context(closing(self.service.client()))
        with suppress(StudyNotFound):
            client.delete(study.name)
        client.open(study)
        return client
