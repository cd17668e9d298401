"""A study trains exactly the same trials on every store and over HTTP: a decision depends on the records, not on their place."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from postgres import Server
from serving import SharedClock, serving_by_clock

from broodline.controller.client import Client
from broodline.controller.controller import Controller
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial
from broodline.storage.base import Store
from broodline.storage.postgres.store import PostgresStore
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing import Crew, FakeClock, study_from_tables

STRATEGIES: list[dict[str, Any]] = [
    {"strategy": "initiator"},
    {"strategy": "generational", "parents": 2},
    {"strategy": "random"},
    {"strategy": "continue"},
]


def train(trial: Trial) -> dict[str, Any] | None:
    """The metrics of a trial, which follow from the trial; some programs fail."""
    return None if trial.number % 11 == 7 else {"score": trial.params["lr"] * (trial.start + 1)}


def played(client: Client, store: Store, study: StudyConfig) -> tuple[list[Trial], list[str]]:
    """All records of the trials of a study that three workers train in turn, and the checkpoints that were to be deleted."""
    crew = Crew(client=client, study=study.name, train=train, workers=3)
    crew.run()
    with store.snapshot(study.name) as records:
        return list(records.trials()), crew.swept


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> SharedClock:
    return SharedClock(tmp_path_factory.mktemp("clock") / "clock")


@pytest.mark.parametrize("evolution", STRATEGIES, ids=[each["strategy"] for each in STRATEGIES])
def test_the_trials_are_the_same_on_sqlite_on_postgresql_and_over_http(
    postgres: Server, tmp_path: Path, clock: SharedClock, evolution: dict[str, Any]
) -> None:
    study = study_from_tables(evolution=evolution, stopping={"rule": "median", "min_trials": 3})
    found: dict[str, tuple[list[Trial], list[str]]] = {}
    with ExitStack() as life:
        for name, store in (("sqlite", SqliteStore(None, clock=FakeClock())), ("postgresql", _on(postgres))):
            controller = Controller(life.enter_context(closing(store)))
            controller.open(study)
            found[name] = played(controller, store, study)
        service = life.enter_context(serving_by_clock(tmp_path, clock))
        client = life.enter_context(closing(service.client()))
        client.open(study)
        behind = life.enter_context(closing(SqliteStore(service.tokens.parent / "broodline.db")))
        found["http"] = played(client, behind, study)
    trials, swept = found["sqlite"]
    assert len(trials) == 40
    assert len({trial.params["lr"] for trial in trials}) > 3
    assert len(swept) > 10
    assert found["postgresql"] == found["sqlite"]
    assert found["http"] == found["sqlite"]


def _on(server: Server) -> PostgresStore:
    return PostgresStore(server.new_schema(), clock=FakeClock())
