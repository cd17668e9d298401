"""What a turn of the controller asks of the database is answered by indexes, so its cost does not grow with the study."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from recorded import DOCUMENT
from sqlalchemy.engine import Engine

from broodline.config.study import parse
from broodline.controller.client import Signal, Start, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.next_trial import next_trial
from broodline.core.trial import Measurement, Trial
from broodline.storage.sql import transaction
from broodline.storage.sql.rows import measurement_of_row, trial_of_row
from broodline.storage.sqlite.store import SqliteStore
from broodline.strategies.registry import load_strategy

ASKER = WorkerSession(worker="0", session="a")
STOPPING: dict[str, Any] = {"stopping": {"rule": "median", "min_trials": 1}}


@pytest.fixture(name="plans", params=[{}, STOPPING], ids=["plain", "stopping"])
def of_every_statement(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, list[str]]]:
    """The query plans of all that a worker's calls lead to, by statement."""
    path = tmp_path / "cost.db"
    store = SqliteStore(path)
    said: dict[str, Any] = {}

    def remember(_connection: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        said[statement] = values[0] if isinstance(values, list) else values

    sa.event.listen(Engine, "before_cursor_execute", remember)
    try:
        play(Controller(store), **request.param)
    finally:
        sa.event.remove(Engine, "before_cursor_execute", remember)
    with sqlite3.connect(path) as connection:
        yield {
            statement: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            for statement, values in said.items()
            if statement.startswith(("SELECT", "UPDATE")) and ("trials" in statement or "scores" in statement)
        }
    connection.close()
    store.close()


def play(controller: Controller, **tables: Any) -> None:
    controller.open(parse({**DOCUMENT, "budget": {"trials": 30}, **tables}, "test"))
    answer = controller.ask("digits", ASKER)
    controller.ask("digits", WorkerSession(worker="1", session="b"))
    controller.renew("digits", ["a", "b"])
    while isinstance(answer, Start):
        trial = answer.trial
        measured = [Measurement(step=trial.end, metrics={"accuracy": float(trial.number % 7)})]
        controller.report("digits", trial.number, trial.attempt, measured, 1)
        if trial.number % 5 == 4:
            answer = controller.fail("digits", trial.number, trial.attempt, measured, "exit status 1", "", ASKER)
        else:
            path = f"checkpoints/{trial.number:06d}.1"
            answer = controller.complete("digits", trial.number, trial.attempt, measured, path, ASKER)
    controller.release("digits", ["b"])


def test_no_statement_of_a_turn_looks_through_a_study(plans: dict[str, list[str]]) -> None:
    assert len(plans) > 12
    for statement, steps in plans.items():
        assert not [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step], statement
        # `(study=?)` alone is the whole study, but for an index that holds only few of its trials, or gives the first at once.
        whole = [step for step in steps if step.endswith("PRIMARY KEY (study=?)")]
        assert not whole, statement


def test_a_report_to_a_study_that_stops_trials_asks_five_statements_more_and_to_any_other_none(tmp_path: Path) -> None:
    counted: dict[str, list[str]] = {}
    for name, tables in (("plain", {}), ("stopping", STOPPING)):
        store = SqliteStore(tmp_path / f"{name}.db")
        controller = Controller(store)
        play(controller, **tables)
        controller.open(parse({**DOCUMENT, "budget": {"trials": 31}, **tables}, "test"))
        answer = controller.ask("digits", ASKER)
        assert isinstance(answer, Start)
        measured = [Measurement(step=answer.trial.start + 5, metrics={"accuracy": 9.0})]
        counted[name] = []

        def remember(*event: Any, of: str = name) -> None:
            counted[of].append(event[2])

        sa.event.listen(Engine, "before_cursor_execute", remember)
        try:
            assert controller.report("digits", answer.trial.number, answer.trial.attempt, measured, 1) is Signal.CONTINUE
        finally:
            sa.event.remove(Engine, "before_cursor_execute", remember)
            store.close()
    assert [statement for statement in counted["plain"] if "scores" in statement] == []
    assert len(counted["stopping"]) == len(counted["plain"]) + 5 <= 18


def test_a_report_late_in_a_study_that_stops_trials_reads_no_more_than_an_early_one() -> None:
    steps = 0

    def add() -> None:
        nonlocal steps
        steps += 1

    def watch(connection: Any, _: object) -> None:
        connection.set_progress_handler(add, 10)  # each tenth step of SQLite's own machine

    sa.event.listen(sa.Pool, "connect", watch)
    try:
        with closing(SqliteStore(None)) as store:
            controller, cost = Controller(store), []
            controller.open(parse({**DOCUMENT, "population": 5, **STOPPING}, "test"))
            answer = controller.ask("digits", ASKER)
            for _ in range(400):
                assert isinstance(answer, Start)
                trial = answer.trial
                measured = [Measurement(step=trial.start + step, metrics={"accuracy": 1.0}) for step in (5, 10)]
                before = steps
                controller.report("digits", trial.number, trial.attempt, measured[:1], 1)
                cost.append(steps - before)
                path = f"checkpoints/{trial.number:06d}.1"
                answer = controller.complete("digits", trial.number, trial.attempt, measured[1:], path, ASKER)
    finally:
        sa.event.remove(sa.Pool, "connect", watch)
    assert max(cost[-100:]) < 1.2 * max(cost[20:120])


def test_the_first_pending_trial_is_found_without_a_look_at_those_that_are_running(plans: dict[str, list[str]]) -> None:
    asked = {statement: steps for statement, steps in plans.items() if "state = 'pending'" in statement}
    assert asked
    for steps in asked.values():
        searches = [step for step in steps if step.startswith("SEARCH")]
        assert [step for step in searches if "pending" in step] == ["SEARCH trials USING INDEX pending_trials (study=?)"]
        by_index = [step for step in searches if "USING PRIMARY KEY (study=? AND number=?)" not in step]
        assert len(by_index) == 3, "the leases of the worker, those that have expired, and the first pending trial"


GRID: dict[str, Any] = {"evolution": {"strategy": "grid", "points": 20}, "population": 400, "budget": {"generations": 1}}
SPACE: dict[str, Any] = {"space": {"lr": {"float": [0.1, 0.9]}, "decay": {"float": [0.1, 0.9]}}}
FAILING: dict[str, Any] = {**GRID, "budget": {"generations": 3}}


@contextmanager
def rows_read() -> Iterator[list[int]]:
    """Counts the trials that are made of rows."""
    made = [0]

    def counting(row: Any) -> Trial:
        made[0] += 1
        return trial_of_row(row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction, "trial_of_row", counting)
        yield made


@pytest.mark.parametrize("tables", [GRID, FAILING], ids=["completed", "failed"])
def test_an_ask_reads_no_ended_lineage(tables: dict[str, Any]) -> None:
    with closing(SqliteStore(None)) as store, rows_read() as made:
        controller, read = Controller(store), []
        controller.open(parse({**DOCUMENT, **tables, **SPACE}, "test"))
        answer = controller.ask("digits", ASKER)
        for number in range(120):
            assert isinstance(answer, Start)
            trial, before = answer.trial, made[0]
            measured = [Measurement(step=trial.end, metrics={"accuracy": float(number)})]
            if tables is FAILING and number:
                answer = controller.fail("digits", trial.number, trial.attempt, measured, "exit status 1", "", ASKER)
            else:
                answer = controller.complete(
                    "digits", trial.number, trial.attempt, measured, f"checkpoints/{number:06d}.1", ASKER
                )
            read.append(made[0] - before)
        before = made[0]
        with store.snapshot("digits") as records:
            next_trial(
                parse({**DOCUMENT, **tables, **SPACE}, "test"),
                records.progress(),
                records,
                strategy=load_strategy(parse({**DOCUMENT, **tables, **SPACE}, "test").evolution),
                worker="0",
            )
        assert made[0] - before <= 2
    assert max(read[-20:]) <= max(read[5:25]) <= 6


def test_a_report_reads_no_more_measurements_than_its_mean_needs() -> None:
    goal = {"accuracy": {"goal": "maximize", "mean_of_last": 3}}
    with closing(SqliteStore(None)) as store, pytest.MonkeyPatch.context() as patch:
        read = [0]

        def counting(step: int, metrics: str) -> Measurement:
            read[0] += 1
            return measurement_of_row(step, metrics)

        patch.setattr(transaction, "measurement_of_row", counting)
        controller = Controller(store)
        controller.open(parse({**DOCUMENT, **STOPPING, "trial_steps": 1000, "objective": goal}, "test"))
        answer = controller.ask("digits", ASKER)
        assert isinstance(answer, Start)
        for step in range(1, 100):
            before = read[0]
            controller.report("digits", 0, 1, [Measurement(step=step, metrics={"accuracy": float(step)})], step)
            assert read[0] - before <= 2


def test_a_report_makes_no_row_of_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index gives the median; only peers that passed the step without a score at it are looked at one by one."""
    made: list[Any] = []
    monkeypatch.setattr(transaction, "peer_score_of_row", made.append)
    with closing(SqliteStore(None)) as store:
        controller = Controller(store)
        controller.open(parse({**DOCUMENT, **STOPPING, "population": 30}, "test"))
        answer = controller.ask("digits", ASKER)
        for number in range(70):
            assert isinstance(answer, Start)
            trial = answer.trial
            half, whole = (Measurement(step=trial.start + step, metrics={"accuracy": float(number)}) for step in (5, 10))
            assert controller.report("digits", trial.number, trial.attempt, [half], 1) is Signal.CONTINUE
            answer = controller.complete("digits", trial.number, trial.attempt, [whole], f"checkpoints/{number:06d}.1", ASKER)
    assert made == []


def test_a_worker_that_waits_long_looks_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(SqliteStore(tmp_path / "wait.db")) as store:
        store.create("s", "{}")
        with store.transaction("s"):
            pass
        now, pauses = [time.monotonic()], list[float]()

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            now[0] += seconds

        monkeypatch.setattr(time, "sleep", sleep)
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        for _ in range(30):
            store.wait_for_change(1.0)
    assert pauses[0] <= 0.005, "a short wait ends at once"
    assert len(pauses) < 800, "200 looks a second would be 6,000"
    assert max(pauses) <= 0.05


@pytest.mark.parametrize("tables", [{}, STOPPING], ids=["plain", "stopping"])
def test_prepared_statements_are_those_of_sqlalchemy(tables: dict[str, Any]) -> None:
    said: list[list[str]] = [[], []]
    for run, listens in enumerate((False, True)):

        def watch(connection: Any, _: object, into: list[str] = said[run]) -> None:
            connection.set_trace_callback(into.append)  # with its values, after the driver has put them in

        sa.event.listen(sa.Pool, "connect", watch)
        seen: list[Any] = []
        try:
            with closing(SqliteStore(None, clock=lambda: 1.0)) as store:
                if listens:
                    sa.event.listen(store._engine, "before_cursor_execute", lambda *event, into=seen: into.append(event))
                play(Controller(store), **tables)
        finally:
            sa.event.remove(sa.Pool, "connect", watch)
        assert (len(seen) > 100) is listens
    first, second = ([each for each in statements if not each.startswith("INSERT INTO identity")] for statements in said)
    assert first == second
