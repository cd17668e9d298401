"""What a turn of the controller asks of the database is answered by indexes, so its cost does not grow with the study."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from recorded import DOCUMENT
from sqlalchemy.engine import Engine

from broodline.config.study import parse
from broodline.controller.client import Signal, Start, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.trial import Measurement
from broodline.storage.sqlite.store import SqliteStore

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
        controller.report("digits", trial.number, trial.attempt, measured)
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


def test_a_report_to_a_study_that_stops_trials_asks_two_statements_more_and_to_any_other_none(tmp_path: Path) -> None:
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
            assert controller.report("digits", answer.trial.number, answer.trial.attempt, measured) is Signal.CONTINUE
        finally:
            sa.event.remove(Engine, "before_cursor_execute", remember)
            store.close()
    assert [statement for statement in counted["plain"] if "scores" in statement] == []
    assert len(counted["stopping"]) == len(counted["plain"]) + 2 <= 20


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
                controller.report("digits", trial.number, trial.attempt, measured[:1])
                cost.append(steps - before)
                path = f"checkpoints/{trial.number:06d}.1"
                answer = controller.complete("digits", trial.number, trial.attempt, measured[1:], path, ASKER)
    finally:
        sa.event.remove(sa.Pool, "connect", watch)
    assert max(cost[-100:]) < 1.2 * max(cost[20:120])


def test_the_first_pending_trial_is_found_without_a_look_at_those_that_are_running(plans: dict[str, list[str]]) -> None:
    asked = {statement: steps for statement, steps in plans.items() if "state = 'pending'" in statement}
    assert list(asked.values()) == [["SEARCH trials USING INDEX pending_trials (study=?)"]]
