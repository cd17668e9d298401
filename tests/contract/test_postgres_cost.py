"""On PostgreSQL too, a call of a worker is answered by indexes, and costs the same in a long study as in a short one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa
from contract.test_cost import play
from postgres import Server
from recorded import DOCUMENT, Recorded, recorded

from broodline.config.study import parse
from broodline.controller.controller import Controller
from broodline.storage.postgres.store import PostgresStore

TRIALS = 20_000
_MEMBERS = 40
_COPIES = f"""
INSERT INTO trials (study, number, member, generation, state, parent, initiator, child, extendable, params, changes, seed, start,
                    steps, attempt, worker, session, lost, failures, metrics, fitness, score, measured, kept, created, started,
                    finished)
SELECT s.id, n, mod(n, {_MEMBERS}), n / {_MEMBERS}, 'completed', CASE WHEN n >= {_MEMBERS} THEN n - {_MEMBERS} END, NULL,
       CASE WHEN n < {TRIALS - _MEMBERS} THEN n + {_MEMBERS} END, false, '{{"lr": 0.1, "width": 64}}', '{{}}', 1,
       10 * (n / {_MEMBERS}), 10, 1, 'w' || mod(n, 7), 'gone', 0, 0, '{{"accuracy": 0.5}}', '[0.5]',
       0.5 + mod(n * 7919, 10007) * 1e-5,
       10 * (n / {_MEMBERS}) + 10, false, 1, 2, 3 + n
FROM studies s, generate_series(0, {TRIALS - 1}) n WHERE s.name = 'digits'
"""
_SCORES = """
INSERT INTO scores (study, trial, attempt, step, score, start, counts)
SELECT study, number, 1, start + 10, score, start, true FROM trials
"""
_SPENT = f"UPDATE studies SET trials = {TRIALS}, finished = {TRIALS}, completed = {TRIALS} WHERE name = 'digits'"
_CHECKPOINTS = f"UPDATE trials SET checkpoint = 'checkpoints/' || number WHERE number >= {TRIALS - 2 * _MEMBERS}"


def long_study(store: PostgresStore, **tables: Any) -> None:
    """A study of 20,000 trials, of which the last two of each member have a checkpoint; the tables are analysed."""
    Controller(store).open(parse({**DOCUMENT, "population": _MEMBERS, "budget": {"trials": TRIALS + 30}, **tables}, "test"))
    with store._engine.begin() as connection:
        for statement in (_COPIES, _SCORES, _SPENT, _CHECKPOINTS):
            connection.exec_driver_sql(statement)
    analyse(store)


def analyse(store: PostgresStore) -> None:
    with store._engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")


@pytest.fixture(params=["plain", "stopping"])
def store(postgres: Server, request: pytest.FixtureRequest) -> Iterator[PostgresStore]:
    stopping: dict[str, Any] = {"stopping": {"rule": "median", "min_trials": 1}}
    with closing(PostgresStore(postgres.new_schema())) as store:
        long_study(store, **(stopping if request.param == "stopping" else {}))
        yield store


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def test_no_call_of_a_worker_reads_more_than_a_few_rows(store: PostgresStore) -> None:
    said: dict[str, Any] = {}

    def remember(_connection: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        said[statement] = values[0] if isinstance(values, list) else values

    sa.event.listen(store._engine, "before_cursor_execute", remember)
    with store.snapshot("digits") as records:
        records.has_checkpoints()
        records.doubtful()
        records.count_of_score(0.5)
        records.unfinished()
    study = Recorded(store)
    for turn in range(24):
        if turn % 5 == 4:
            study.fail("exit status 1")
        else:
            trial = study.held("0")
            study.controller.report("digits", trial.number, trial.attempt, [])
            study.complete({"accuracy": float(turn % 7)})
    study.controller.renew("digits", ["session of 0", "another"])
    study.controller.release("digits", ["another"])
    sa.event.remove(store._engine, "before_cursor_execute", remember)
    asked = {each: values for each, values in said.items() if " trials" in each or " scores" in each}
    asked = {each: values for each, values in asked.items() if not each.startswith("INSERT")}
    assert len(asked) > 12
    with store._engine.connect() as connection:
        for statement, values in asked.items():
            explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values).scalar_one()
            for node in nodes(explained[0]["Plan"]):
                read = node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
                assert node["Node Type"] != "Seq Scan", (statement, node)
                assert read <= 10 * _MEMBERS, (statement, node)
        connection.rollback()


def test_the_plans_are_the_same_before_the_first_statistics(postgres: Server) -> None:
    """A new study has none for a minute, and its statements are prepared in that time."""
    with closing(PostgresStore(postgres.new_schema())) as store:
        play(Controller(store))
        with store._engine.connect() as connection:
            plan = "EXPLAIN SELECT * FROM trials WHERE study = 1 AND state = 'pending' ORDER BY number LIMIT 1"
            shown = "\n".join(row[0] for row in connection.exec_driver_sql(plan))
    assert "Seq Scan" not in shown


def test_a_call_makes_as_many_statements_in_a_long_study_as_in_a_short_one(postgres: Server, store: PostgresStore) -> None:
    def statements_of(study: Recorded) -> list[int]:
        counts, made = [], [0]
        engine = study.store._engine  # type: ignore[attr-defined]

        def count(*_: object) -> None:
            made[0] += 1

        sa.event.listen(engine, "before_cursor_execute", count)
        for turn in range(30):
            study.complete({"accuracy": float(turn % 7)})
            counts.append(made[0])
            made[0] = 0
        sa.event.remove(engine, "before_cursor_execute", count)
        return sorted(counts)

    with closing(PostgresStore(postgres.new_schema())) as short:
        few = statements_of(recorded(short, population=3))
    assert statements_of(Recorded(store))[15] <= few[15] + 6
