"""A database of every former version is brought up to date without a loss, and never while another process uses it."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import call, output
from postgres import Server
from recorded import identity, recorded

from broodline.config.study import study_from
from broodline.controller.controller import Controller
from broodline.core.study import Budget
from broodline.core.trial import Trial
from broodline.errors import StoreError
from broodline.storage.location import open_store, upgrade_store
from broodline.storage.postgres.store import PostgresStore
from broodline.storage.sql import schema
from broodline.storage.sqlite import tables
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing import Crew, check_invariants

FILES = Path(__file__).parents[1] / "databases"
VERSIONS = range(1, schema.VERSION + 1)
OLDER = [version for version in VERSIONS if version < schema.VERSION]


def copied(version: int, directory: Path) -> Path:
    """A database of a version, in a directory of the test, as its processes left it."""
    path = directory / "broodline.db"
    shutil.copyfile(FILES / f"schema_{version}.sqlite", path)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
    return path


def stored(path: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables, but for the version and the identity."""
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        names = [row["name"] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: [dict(row) for row in database.execute(f"SELECT * FROM {name}")]
            for name in names
            if name not in ("broodline", "identity")
        }


def tables_of(path: Path) -> dict[str, Any]:
    """The columns of each table and the definition of each index."""
    with closing(sqlite3.connect(path)) as database:
        found = list(database.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        return {
            name: sorted(row[1:4] for row in database.execute(f"PRAGMA table_info({name})"))
            if kind == "table"
            else re.sub(r"[\s()]+", " ", sql)
            for kind, name, sql in found
        }


@pytest.mark.parametrize("version", VERSIONS)
def test_there_is_a_database_of_every_version(version: int, tmp_path: Path) -> None:
    """A new version needs one too: `python tests/databases/make.py`."""
    with closing(sqlite3.connect(copied(version, tmp_path))) as database:
        assert database.execute("SELECT version FROM broodline").fetchall() == [(version,)]
        assert database.execute("SELECT finished, completed FROM studies WHERE name = 'digits'").fetchall() == [(6, 5)]


@pytest.mark.parametrize("version", OLDER)
def test_an_older_database_becomes_like_a_new_one_and_keeps_every_value(version: int, tmp_path: Path) -> None:
    path, new = copied(version, tmp_path), tmp_path / "new.db"
    before = stored(path)
    SqliteStore(path).close()
    SqliteStore(new).close()
    after = stored(path)
    for table, rows in before.items():
        assert [{name: row[name] for name in old} for row, old in zip(after[table], rows, strict=True)] == rows
    assert tables_of(path) == tables_of(new)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT version FROM broodline").fetchall() == [(schema.VERSION,)]
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_study_of_an_older_version_is_resumed(version: int, tmp_path: Path) -> None:
    def score(trial: Trial) -> dict[str, Any]:
        return {"accuracy": trial.params["lr"]}

    with closing(SqliteStore(copied(version, tmp_path))) as store:
        for name in store.studies():
            with store.snapshot(name) as records:
                study, before = study_from(records.definition()), list(records.trials())
            Controller(store).open(replace(study, budget=Budget(trials=20)))
            Crew(client=Controller(store), study=name, train=score).run()
            check_invariants(store, name)
            with store.snapshot(name) as records:
                after = list(records.trials())
                assert records.progress().finished == 20
                if study.stopping is not None:
                    assert [peer for peer in records.peer_scores(2**40, 5) if peer.score is not None]
            unchanged = [trial.evolve(child=None, checkpoint=None, extendable=False) for trial in before]
            assert [t.evolve(child=None, checkpoint=None, extendable=False) for t in after[: len(before)]] == unchanged


def test_the_scores_of_an_older_study_count_as_new_ones_do(tmp_path: Path) -> None:
    path = copied(3, tmp_path)
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as database:
        counted = database.execute("SELECT trial, step FROM scores WHERE counts ORDER BY trial, step").fetchall()
        last = database.execute(
            "SELECT trial, step FROM scores JOIN trials ON trials.study = scores.study AND number = trial "
            "WHERE state <> 'failed' AND scores.attempt = trials.attempt GROUP BY trial, step ORDER BY trial, step"
        ).fetchall()
        measured = database.execute(
            "SELECT DISTINCT measured IS NULL FROM trials AS t "
            "JOIN scores AS s ON t.study = s.study AND t.number = s.trial WHERE counts"
        ).fetchall()
    assert counted == last != []
    assert measured == [(0,)]


@contextmanager
def used_by_another_process(path: Path) -> Iterator[None]:
    """A process that has the database open and does nothing, as a worker does that trains."""
    code = f"""
import sqlite3, sys
database = sqlite3.connect({str(path)!r})
database.execute("SELECT * FROM studies").fetchall()
print("open", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield


def test_an_older_database_that_another_process_uses_is_not_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_PATIENCE", 0.2)
    path = copied(4, tmp_path)
    before = stored(path)
    for opened in (lambda: SqliteStore(path), lambda: upgrade_store(f"sqlite:///{path}")):
        with used_by_another_process(path), pytest.raises(StoreError, match=r"another process uses it\nhelp: stop all runs"):
            opened()
    assert stored(path) == before
    SqliteStore(path).close()


def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = copied(3, tmp_path)
    before, tables_before = stored(path), tables_of(path)

    def fail(_operations: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("broodline.storage.sql.migrations.step_5.upgrade", fail)
    with pytest.raises(KeyboardInterrupt):
        SqliteStore(path)
    assert (stored(path), tables_of(path)) == (before, tables_before)


def test_the_command_upgrades_and_repeats_without_an_effect(tmp_path: Path) -> None:
    url = f"sqlite:///{copied(2, tmp_path)}"
    assert output("upgrade", "--store", url) == f"{url}: upgraded from schema 2 to {schema.VERSION}\n"
    assert json.loads(output("upgrade", "--store", url, "--json")) == {"before": schema.VERSION, "after": schema.VERSION}
    refused = call("upgrade", "--store", f"sqlite:///{tmp_path / 'none.db'}")
    assert (refused.returncode, "there is no such database" in refused.stderr) == (2, True)


def made_older(url: str) -> PostgresStore:
    """A study in a PostgreSQL store of version 4, which is open."""
    store = PostgresStore(url)
    study = recorded(store)
    study.complete({"accuracy": 0.5})
    study.controller.release("digits", ["session of 0"])
    with store._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE directories")
        connection.exec_driver_sql("UPDATE broodline SET version = 4")
    return store


def test_on_postgres_only_the_command_upgrades_and_not_while_a_process_uses_the_store(postgres: Server) -> None:
    url = postgres.new_schema()
    with closing(made_older(url)) as store:
        with pytest.raises(StoreError, match=r"older broodline \(schema 4; .*\n.*broodline upgrade --store"):
            open_store(url)
        with pytest.raises(StoreError, match=r"is in use \([1-9].* nothing was changed"):
            upgrade_store(url)
        Controller(store).ask("digits", identity("1"))
    with pytest.raises(StoreError, match=r"is in use \(.* 1 leased trials"):
        upgrade_store(url)
    postgres.execute(f"UPDATE {schema_of(url)}.trials SET lease_until = 0 WHERE state = 'running'")
    assert upgrade_store(url).before == 4
    with closing(open_store(url)) as store:
        assert store.files_record("digits") is None
        check_invariants(store, "digits")


def test_a_newer_postgres_store_is_refused(postgres: Server) -> None:
    url = postgres.new_schema()
    PostgresStore(url).close()
    postgres.execute(f"UPDATE {schema_of(url)}.broodline SET version = {schema.VERSION + 1}")
    for opened in (open_store, upgrade_store):
        with pytest.raises(StoreError, match=rf"newer broodline \(schema {schema.VERSION + 1}"):
            opened(url)


def schema_of(url: str) -> str:
    return url.rpartition("%3D")[2]
