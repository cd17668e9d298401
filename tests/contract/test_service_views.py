"""What a service shows is what its store holds; and a service ends in order."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from serving import TOKENS, Service, serving

from broodline.cli import main
from broodline.controller.client import Start, Wait, WorkerSession
from broodline.core.trial import Measurement
from broodline.errors import StoreError, StoreUnavailable
from broodline.service.http_store import HttpRecords, HttpStore
from broodline.storage.base import Transaction
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing import Crew, study_from_tables

STUDY = study_from_tables(name="shown", budget={"trials": 30})


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("shown")) as service:
        with closing(service.client()) as client:
            client.open(STUDY)
            chance = iter([None, {"score": math.nan}] * 40)
            crew = Crew(
                client=client,
                study=STUDY.name,
                train=lambda trial: {"score": trial.params["lr"]} if trial.number % 4 else next(chance),
            )
            crew.run(turns=24)
            (start, *_) = crew.held.values()
            measured = [Measurement(step=start.trial.start + 1, metrics={"score": math.inf, "deep": [{"x": math.nan}]})]
            client.report(STUDY.name, start.trial.number, start.trial.attempt, measured, 1)
        yield service


@pytest.fixture
def both(service: Service) -> Iterator[tuple[Transaction, HttpRecords]]:
    """The records in the store, and those that the service shows."""
    path = service.tokens.parent / "broodline.db"
    with (
        closing(SqliteStore(path)) as store,
        store.snapshot(STUDY.name) as records,
        closing(service.requests("reader")) as reader,
    ):
        yield records, HttpRecords(reader, STUDY.name)


QUESTIONS: dict[str, Callable[[Transaction], Any]] = {
    "progress": lambda records: records.progress(),
    "definition": lambda records: json.loads(records.definition()),
    "trials": lambda records: list(records.trials()),
    "a page of trials": lambda records: list(records.trials(after=3, limit=5)),
    "the last page": lambda records: list(records.trials(after=1000)),
    "each trial": lambda records: [records.trial(number) for number in range(40)],
    "measurements": lambda records: str([records.measurements(number) for number in range(20)]),
    "measurements of an attempt": lambda records: records.measurements(1, 1),
    "latest measurements": lambda records: list(records.latest_measurements(1, 1)),
    "best": lambda records: records.best(7),
    "count of a score": lambda records: [records.count_of_score(trial.fitness[0]) for trial in records.best(3) if trial.fitness],
    "doubtful": lambda records: records.doubtful(),
    "unfinished": lambda records: records.unfinished(),
    "pending": lambda records: records.first_pending(),
    "running": lambda records: records.any_running(),
    "leases": lambda records: [records.leases(worker, until) for worker in "012" for until in (0.0, 1e12)],
    "sessions": lambda records: records.running_in(["life 0 of 0", "gone"]),
    "checkpoints": lambda records: (records.checkpoints(), records.checkpoints([1, 2]), records.has_checkpoints()),
    "members": lambda records: (records.members_started(), records.members_with_completed()),
    "last completed": lambda records: [records.last_completed(member) for member in range(5)],
    "generations": lambda records: [records.of_generation(number) for number in range(3)],
    "leaves": lambda records: (records.leaves(), list(records.open_leaves("0")), list(records.open_leaves("0", 3))),
    "initiator": lambda records: (records.first_initiator("0"), records.first_initiator("nobody")),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=list(QUESTIONS))
def test_a_service_shows_what_its_store_holds(
    both: tuple[Transaction, HttpRecords], question: Callable[[Transaction], Any]
) -> None:
    held, shown = both
    assert str(question(shown)) == str(question(held))  # as a number, NaN does not equal itself


def test_records_are_not_written_through_a_service(both: tuple[Transaction, HttpRecords]) -> None:
    _, shown = both
    trial = shown.trial(0)
    assert trial is not None
    with pytest.raises(StoreError, match="--store that the service has"):
        shown.update(trial)


@pytest.mark.parametrize("command", ["status", "trials", "best", "lineage", "schedule", "export"])
def test_commands_that_read_print_the_same_through_a_service(
    service: Service, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROODLINE_TOKEN", TOKENS["reader"])
    printed = []
    for store in (f"sqlite:///{service.tokens.parent / 'broodline.db'}", service.url):
        assert main([command, STUDY.name, "--store", store, *(["--json"] if command != "export" else [])]) == 0
        printed.append(capsys.readouterr().out)
    direct, shown = ([_without_places(line) for line in text.splitlines()] for text in printed)
    assert shown == direct


def _without_places(line: str) -> Any:
    """A line of JSON without the directory of checkpoints, which follows from the store, and without the time that passes."""
    try:
        document = json.loads(line.rstrip(","))
    except ValueError:
        return line
    return _stripped(document)


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _stripped(each) for name, each in value.items() if name not in ("checkpoint", "elapsed", "trials_per_second")
        }
    return [_stripped(each) for each in value] if isinstance(value, list) else value


def test_a_reader_may_not_train(service: Service) -> None:
    with closing(service.client("reader")) as client, pytest.raises(StoreError, match="role worker"):
        client.ask(STUDY.name, WorkerSession(worker="0", session="a"))


def test_a_store_of_a_service_is_a_store(tmp_path: Path) -> None:
    with serving(tmp_path) as service, closing(HttpStore(service.requests())) as store:
        assert store.studies() == ()
        store.client().open(STUDY)
        assert not store.create(STUDY.name, "{}")
        assert store.studies() == (STUDY.name,)
        store.delete(STUDY.name)
        assert store.studies() == ()


def test_a_service_that_ends_answers_the_workers_that_wait(tmp_path: Path) -> None:
    one = study_from_tables(name="one", population=1, budget={"trials": 1})
    with serving(tmp_path) as service, closing(service.client()) as client, closing(service.client()) as other:
        client.open(one)
        assert isinstance(client.ask(one.name, WorkerSession(worker="0", session="a")), Start)
        idle = WorkerSession(worker="1", session="b")
        assert isinstance(other.ask(one.name, idle), Wait)
        waits = threading.Thread(target=other.wait, args=(0.1,))
        began = time.monotonic()
        waits.start()
        waits.join(1.0)
        assert waits.is_alive()  # the service holds its request
        assert service.kill(signal.SIGTERM) == 0
        waits.join(30)
        assert not waits.is_alive()
        assert time.monotonic() - began < 20  # and not as long as it would have waited
        with pytest.raises(StoreUnavailable):
            client.ask(one.name, idle)


def test_a_worker_that_waits_gets_the_trial_that_another_one_gives_back(tmp_path: Path) -> None:
    one = study_from_tables(name="one", population=1, budget={"trials": 1})
    first, idle = WorkerSession(worker="0", session="a"), WorkerSession(worker="1", session="b")
    with serving(tmp_path) as service, closing(service.client()) as client, closing(service.client()) as other:
        client.open(one)
        client.ask(one.name, first)
        assert isinstance(other.ask(one.name, idle), Wait)
        waits = threading.Thread(target=other.wait, args=(0.1,))
        waits.start()
        client.release(one.name, [first.session])
        waits.join(30)
        answer = other.ask(one.name, idle)
        assert isinstance(answer, Start)
        assert (answer.trial.number, answer.trial.worker) == (0, "1")


def test_a_worker_that_is_to_leave_waits_no_longer(tmp_path: Path) -> None:
    one = study_from_tables(name="one", population=1, budget={"trials": 1})
    with serving(tmp_path) as service, closing(service.client()) as client:
        client.open(one)
        client.ask(one.name, WorkerSession(worker="0", session="a"))
        assert isinstance(client.ask(one.name, WorkerSession(worker="1", session="b")), Wait)
        waits = threading.Thread(target=client.wait, args=(0.1,))
        waits.start()
        while waits.is_alive():
            client.wake()
            waits.join(0.05)
