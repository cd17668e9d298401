"""The parts of a service in this process: calls that share a commit, workers that wait, and documents."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broodline.controller.client import Answer, Done, Start, Wait, WorkerSession
from broodline.controller.controller import Controller, answering
from broodline.controller.unit_of_work import UnitOfWork
from broodline.core.trial import Measurement, Trial
from broodline.errors import LeaseLost, StoreError, StoreUnavailable, StudyNotFound
from broodline.service.encoding import (
    answer_document,
    answer_from,
    measurement_document,
    measurement_from,
    to_json,
    trial_document,
    trial_from,
)
from broodline.service.http_client import HELD_SECONDS, HttpClient, Requests
from broodline.service.strict_json import BadJson, read_json
from broodline.service.waiting import Waiting
from broodline.service.writer import Writer
from broodline.storage.base import Store, Transaction
from broodline.storage.sqlite.store import SqliteStore
from broodline.storage.wrapper import StoreWrapper
from broodline.testing import check_invariants, checkpoint_of, study_from_tables

STUDY = study_from_tables(population=16, budget={"trials": 40})


def session(number: int) -> WorkerSession:
    return WorkerSession(worker=str(number), session=f"session {number}")


class Commits(StoreWrapper):
    """Counts transactions; `broken` is raised at the end of each one, `gate` holds one at its begin."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.count, self.broken = 0, list[Exception]()
        self.gate = threading.Event()
        self.gate.set()

    @contextmanager
    def transaction(self, study: str) -> Iterator[Transaction]:
        assert self.gate.wait(30)
        with self.wrapped.transaction(study) as transaction:
            self.count += 1
            yield transaction
            if self.broken:
                raise self.broken.pop()


@pytest.fixture
def store() -> Iterator[Commits]:
    with closing(SqliteStore(None)) as store:
        Controller(store).open(STUDY)
        yield Commits(store)


def played(store: Commits, play: Callable[[Writer], Awaitable[None]]) -> None:
    async def main() -> None:
        writer = Writer(Controller(store))
        try:
            await play(writer)
        finally:
            writer.close()

    asyncio.run(main())
    check_invariants(store, STUDY.name)


async def together(store: Commits, calls: list[Awaitable[Any]]) -> list[Any]:
    """The results of calls that all arrive while the store is busy with another one."""
    store.gate.clear()
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)  # each has put its work into the queue
    store.gate.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_calls_that_arrive_together_share_a_commit(store: Commits) -> None:
    async def play(writer: Writer) -> None:
        before = store.count
        answers = await together(store, [writer.execute(STUDY.name, answering(session(n))) for n in range(8)])
        assert {answer.trial.number for answer in answers} == set(range(8))
        assert store.count - before <= 2  # the first may have been taken from the queue alone

    played(store, play)


def test_a_call_that_fails_is_undone_alone(store: Commits) -> None:
    def late(work: UnitOfWork) -> None:
        work.reports.report(0, 1, [Measurement(step=1, metrics={"score": 1.0})], 1)
        raise LeaseLost("superseded")

    async def play(writer: Writer) -> None:
        first = await writer.execute(STUDY.name, answering(session(0)))
        assert isinstance(first, Start)
        last = [Measurement(step=first.trial.end, metrics={"score": 2.0})]
        complete = answering(session(0), lambda work: work.reports.complete(0, 1, last, checkpoint_of(first.trial)))
        results = await together(
            store,
            [
                writer.execute(STUDY.name, answering(session(1))),
                writer.execute(STUDY.name, late),
                writer.execute(STUDY.name, answering(session(2))),
                writer.execute("gone", answering(session(2))),
                writer.execute(STUDY.name, complete),
            ],
        )
        assert [type(result) for result in results] == [Start, LeaseLost, Start, StudyNotFound, Start]

    played(store, play)
    with store.snapshot(STUDY.name) as records:
        assert [trial.state for trial in records.trials()] == ["completed", "running", "running", "running"]
        assert [measurement.step for measurement in records.measurements(0)] == [10]


@pytest.mark.parametrize("error", [StoreUnavailable("full"), StoreError("corrupt"), ZeroDivisionError("a strategy's mistake")])
def test_a_transaction_that_fails_as_a_whole_changes_nothing(store: Commits, error: Exception) -> None:
    async def play(writer: Writer) -> None:
        store.broken = [error] * 9
        results = await together(store, [writer.execute(STUDY.name, answering(session(n))) for n in range(3)])
        assert [type(result) for result in results] == [type(error)] * 3
        store.broken = []
        assert isinstance(await writer.execute(STUDY.name, answering(session(9))), Start)

    played(store, play)
    with store.snapshot(STUDY.name) as records:
        assert [trial.worker for trial in records.trials()] == ["9"]


def test_a_call_with_an_unknown_error_fails_where_it_belongs(store: Commits) -> None:
    def broken(_: UnitOfWork) -> None:
        raise ZeroDivisionError

    async def play(writer: Writer) -> None:
        works: list[Any] = [answering(session(0)), broken, answering(session(1))]
        results = await together(store, [writer.execute(STUDY.name, work) for work in works])
        assert [type(result) for result in results] == [Start, ZeroDivisionError, Start]

    played(store, play)


# Workers that wait


class Asked:
    """Answers with a trial as long as there are some, and counts."""

    def __init__(self) -> None:
        self.trials, self.count, self.waits = 0, 0, 0
        self.changed = asyncio.Event()

    async def ask(self, study: str, identity: WorkerSession) -> Answer:
        self.count += 1
        await asyncio.sleep(0)
        if not self.trials:
            return Wait()
        self.trials -= 1
        return Done(reason=identity.worker)

    async def watch(self, seconds: float) -> None:
        self.waits += 1
        await self.changed.wait()
        self.changed.clear()


def test_a_change_costs_one_ask_more_than_it_gives_trials_however_many_wait() -> None:
    async def main() -> None:
        asked = Asked()
        waiting = Waiting(asked.ask, asked.watch)
        held = [asyncio.ensure_future(waiting.answer("s", session(number), 60.0)) for number in range(1000)]
        await asyncio.sleep(0)
        assert len(waiting) == 1000
        asked.trials = 3
        waiting.changed()
        first = await asyncio.gather(*held[:3])
        assert [answer.reason for answer in first if isinstance(answer, Done)] == ["0", "1", "2"]  # who waited longest
        asked.changed.set()  # of another process
        while asked.count < 5:
            await asyncio.sleep(0.01)
        assert asked.count == 5
        waiting.end_all()
        assert await asyncio.gather(*held[3:]) == [Wait()] * 997
        await waiting.close()

    asyncio.run(main())


def test_a_worker_is_answered_after_its_time_and_once_if_it_asks_again() -> None:
    async def main() -> None:
        asked = Asked()
        waiting = Waiting(asked.ask, asked.watch)
        assert await waiting.answer("s", session(0), 0.01) == Wait()
        former = asyncio.ensure_future(waiting.answer("s", session(0), 60.0))
        await asyncio.sleep(0)
        again = asyncio.ensure_future(waiting.answer("s", session(0), 60.0))
        assert await former == Wait()
        asked.trials = 1
        waiting.changed()
        assert isinstance(await again, Done)
        assert len(waiting) == 0
        await waiting.close()

    asyncio.run(main())


class Recorded(Requests):
    """Answers with documents in turn, and records the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.sent = list(answers), list[float]()

    def send(self, method: str, path: str, body: Any = None, *, held: float = 0.0) -> Any:
        self.sent.append(held)
        return answer_document(self.answers.pop(0))


@pytest.mark.parametrize("delete", [(), ("checkpoints/000003.1",)])
def test_the_answer_of_a_held_request_is_that_of_the_next_ask_with_all_that_it_names(delete: tuple[str, ...]) -> None:
    found = Done(reason="the budget is used up", delete=delete)
    requests = Recorded(Wait(), found, Done(reason="another question"))
    client = HttpClient(requests)
    assert client.ask("s", session(0)) == Wait()
    client.wait(0.01)
    assert client.ask("s", session(0)) == found
    assert requests.sent == [0.0, HELD_SECONDS]  # no request of its own for that ask


def test_the_answer_of_a_held_request_is_of_no_other_worker() -> None:
    client = HttpClient(Recorded(Wait(), Done(reason="of worker 0"), Done(reason="of worker 1")))
    assert client.ask("s", session(0)) == Wait()
    client.wait(0.01)
    assert client.ask("s", session(1)) == Done(reason="of worker 1")


# Documents

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(), st.text(max_size=5))
KEYS = st.text(max_size=3)
VALUES = st.recursive(SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(KEYS, each, max_size=3))
METRICS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


@settings(max_examples=200, deadline=None)
@given(metrics=METRICS, fitness=st.none() | st.tuples(st.floats(), st.floats()))
def test_every_metric_comes_over_the_wire_as_it_was(metrics: dict[str, Any], fitness: tuple[float, float] | None) -> None:
    measurement = Measurement(step=7, metrics=metrics)
    back = measurement_from(read_json(to_json(measurement_document(measurement))))
    assert same(dict(back.metrics), metrics)
    trial = Trial(number=1, member=0, generation=0, params={"lr": 0.1}, steps=3, metrics=metrics, fitness=fitness)
    start = answer_from(read_json(to_json(answer_document(Start(trial=trial, restore=None, delete=("a",))))))
    assert isinstance(start, Start)
    assert same(start.trial.metrics, metrics)
    assert (start.trial.evolve(metrics=None, fitness=None), start.delete) == (trial.evolve(metrics=None, fitness=None), ("a",))
    assert same(list(trial_from(trial_document(trial)).fitness or ()), list(fitness or ()))


@pytest.mark.parametrize("path", [["metrics", "x"], ["metrics", "a", 0], ["metrics", "b"], ["metrics"], []])
def test_a_place_that_is_not_there_is_refused(path: list[Any]) -> None:
    with pytest.raises(ValueError, match="special"):
        measurement_from({"step": 1, "metrics": {"a": None, "b": 1}, "special": [{"path": path, "value": "nan"}]})


HOSTILE = (
    *(b"", b"{", b"[1,]", b"{}{}", b"NaN", b'{"a": Infinity}', b'{"a": 1, "a": 2}', b"\xef\xbb\xbf{}"),
    *(b"\xff", b'"\\ud800"', b'{"\\udfff": 1}'),
    *(b"[" * 100_000, b"[" * 65 + b"]" * 65, b'{"a":' * 65 + b"1" + b"}" * 65),
    *(b"1" + b"0" * 400, b"9" * 5_000, b"1e999"),
)


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadJson):
        read_json(body)


def test_ordinary_json_is_read() -> None:
    assert read_json(b'{"a": [1, 2.5, null, true, "\\u00e9"], "b": {"a": 1}}') == {"a": [1, 2.5, None, True, "é"], "b": {"a": 1}}


def test_a_part_of_a_transaction_is_undone_alone(tmp_path: Path) -> None:
    """The promise of `Transaction.part`, also for what a part read before."""
    with closing(SqliteStore(tmp_path / "x.db")) as store:
        Controller(store).open(STUDY)
        with store.transaction(STUDY.name) as whole:
            with whole.part() as part:
                part.insert(Trial(number=0, member=0, generation=0, params={}, steps=1))
            with suppress(LeaseLost), whole.part() as part:
                part.update(Trial(number=0, member=0, generation=0, params={}, steps=1, reason="x"))
                part.insert(Trial(number=1, member=1, generation=0, params={}, steps=1))
                part.save_progress(part.progress().evolve(trials=7))
                raise LeaseLost("no")
            with whole.part() as part:
                assert (part.trial(1), part.progress().trials) == (None, 0)
                first = part.trial(0)
                assert first is not None
                assert first.reason is None
        with store.snapshot(STUDY.name) as records:
            assert [trial.number for trial in records.trials()] == [0]
