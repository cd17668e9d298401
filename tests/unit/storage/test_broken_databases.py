"""Errors of real databases: those that can pass are retryable, and a broken database is one clear, permanent error."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest

from broodline.controller.client import WorkerSession
from broodline.controller.controller import Controller
from broodline.errors import BroodlineError, RetryableError, StoreError, StoreUnavailable
from broodline.storage.sqlite.errors import translation
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing import Crew, study_from_tables

STUDY = study_from_tables(budget={"trials": 30}, stopping={"rule": "median", "min_trials": 1})
SESSION = WorkerSession(worker="0", session="a")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The database of a study that is half done."""
    path = tmp_path / "broodline.db"
    with closing(SqliteStore(path)) as store:
        Controller(store).open(STUDY)
        Crew(client=Controller(store), study=STUDY.name, train=lambda trial: {"score": trial.params["lr"]}).run(turns=15)
    return path


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def use(path: Path) -> None:
    """Makes every kind of call on a study."""
    with closing(SqliteStore(path)) as store:
        controller = Controller(store)
        controller.open(study_from_tables(budget={"trials": 36}, stopping={"rule": "median", "min_trials": 1}))
        Crew(client=controller, study=STUDY.name, train=lambda trial: {"score": trial.params["lr"]}).run()
        with store.snapshot(STUDY.name) as records:
            for trial in records.trials():
                records.measurements(trial.number)


BROKEN: dict[str, tuple[str, str]] = {
    "an index is missing": ("DROP INDEX pending_trials", "not complete.*no such index: pending_trials"),
    "a column is missing": ("ALTER TABLE trials DROP COLUMN output", "not complete.*no such column: trials.output"),
    "a table is missing": ("DROP TABLE scores", "not complete.*no such table: .*scores"),
    "a state is unknown": ("UPDATE trials SET state = 'complet^d' WHERE number = 3", "corrupt.*row of trial 3.*'complet"),
    "params are not JSON": ("UPDATE trials SET params = '{\"lr\"' WHERE number = 3", "corrupt.*row of trial 3"),
    "a study's state is unknown": ("UPDATE studies SET state = 'activ'", "corrupt.*row of a study"),
    "a definition is not JSON": ("UPDATE studies SET definition = '{\"name\"'", "definition.*corrupt"),
    "metrics are not JSON": ("UPDATE measurements SET metrics = '{' WHERE id = 1", "corrupt.*measurement at step 10"),
    "a number is a string": ("UPDATE trials SET steps = 'ten' WHERE number = 3", "corrupt.*row of trial 3: steps is 'ten'"),
    "params are a list": ("UPDATE trials SET params = '[]' WHERE number = 3", "corrupt.*row of trial 3: params is"),
    "a fitness is a string": ("UPDATE trials SET fitness = '[\"a\"]' WHERE number = 3", "corrupt.*row of trial 3: fitness is"),
    "a time is a blob": ("UPDATE studies SET touched = x'ff00'", "corrupt.*row of a study: touched is"),
    "metrics are a list": ("UPDATE measurements SET metrics = '[1]' WHERE id = 1", "corrupt.*measurement at step 10: metrics is"),
    "a text is not UTF-8": ("UPDATE trials SET params = CAST(x'ff' AS TEXT) WHERE number = 3", "corrupt.*decode"),
    "a counter is too low": ("UPDATE studies SET trials = 1", "corrupt.*UNIQUE constraint failed"),
}


@pytest.mark.parametrize(("breaking", "message"), BROKEN.values(), ids=list(BROKEN))
def test_a_broken_database_is_one_permanent_error_with_its_file_and_a_remedy(path: Path, breaking: str, message: str) -> None:
    with raw(path) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute(breaking)
    with pytest.raises(StoreError, match=f"(?s){message}.*(restore|copy)") as refused:
        use(path)
    assert not isinstance(refused.value, RetryableError)


@pytest.mark.parametrize("breaking", ["DROP INDEX pending_trials", "ALTER TABLE trials DROP COLUMN output"])
def test_a_worker_of_a_database_that_breaks_while_it_runs_does_not_wait_for_it(path: Path, breaking: str) -> None:
    with closing(SqliteStore(path)) as store:
        Controller(store).ask(STUDY.name, SESSION)
        with raw(path) as connection:
            connection.execute(breaking)
        with pytest.raises(StoreError, match=str(path)):
            Controller(store).ask(STUDY.name, WorkerSession(worker="new", session="b"))


def test_a_database_whose_pages_are_overwritten_while_it_is_open_is_corrupt(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        Controller(store).ask(STUDY.name, SESSION)
    with closing(SqliteStore(path)) as store:
        content = path.read_bytes()
        path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
        with pytest.raises(StoreError, match=f"{path}.*corrupt"), store.snapshot(STUDY.name) as records:
            list(records.trials())


def overwritten(content: bytearray, rng: Random) -> bytearray:
    page = 4096 * rng.randrange(1, len(content) // 4096)
    content[page : page + 4096] = rng.randbytes(4096)
    return content


def bytes_changed(content: bytearray, rng: Random) -> bytearray:
    for _ in range(20):
        content[rng.randrange(100, len(content))] = rng.randrange(256)
    return content


def zeroed(content: bytearray, rng: Random) -> bytearray:
    at = rng.randrange(4096, len(content) - 3000)
    content[at : at + 3000] = bytes(3000)
    return content


def cut_short(content: bytearray, rng: Random) -> bytearray:
    return content[: rng.randrange(100, len(content))]


@pytest.mark.parametrize("damage", [overwritten, bytes_changed, zeroed, cut_short])
def test_whatever_is_corrupt_in_a_database_no_other_error_than_one_of_broodline_leaves_it(
    path: Path, damage: Callable[[bytearray, Random], bytearray]
) -> None:
    content = path.read_bytes()
    errors: list[BroodlineError] = []
    for seed in range(6):
        for log in path.parent.glob("broodline.db-*"):
            log.unlink()
        path.write_bytes(damage(bytearray(content), Random(seed)))
        try:
            use(path)
        except BroodlineError as error:
            errors.append(error)
    assert errors
    assert [error for error in errors if isinstance(error, RetryableError)] == []


def test_a_file_that_becomes_read_only_is_a_permanent_error(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        with store.transaction(STUDY.name) as transaction:
            transaction._connection.exec_driver_sql("PRAGMA query_only=ON")  # as a read-only mount, which only root can make
        with pytest.raises(StoreError, match=f"{path}: the database can't be written.*\nhelp: make the file"):
            Controller(store).ask(STUDY.name, WorkerSession(worker="new", session="b"))


def test_a_locked_database_is_a_retryable_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broodline.storage.sqlite.connections.BUSY_SECONDS", 0.05)
    with closing(SqliteStore(path)) as store, raw(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            Controller(store).ask(STUDY.name, SESSION)
        other.execute("ROLLBACK")
        Controller(store).ask(STUDY.name, SESSION)


def raised_by(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("a message")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_CANTOPEN]
)
def test_an_error_of_the_machine_that_may_pass_is_retryable(code: int) -> None:
    assert isinstance(translation(Path("x.db"), raised_by(code)), StoreUnavailable)


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_READONLY_DBMOVED, sqlite3.SQLITE_CORRUPT_INDEX, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR]
)
def test_an_error_of_the_database_is_permanent(code: int) -> None:
    error = translation(Path("x.db"), raised_by(code))
    assert isinstance(error, StoreError)
    assert "x.db" in str(error)


def test_an_error_of_the_callers_own_is_not_changed(path: Path) -> None:
    with closing(SqliteStore(path)) as store, pytest.raises(ZeroDivisionError), store.transaction(STUDY.name):
        raise ZeroDivisionError
