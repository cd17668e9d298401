"""The file of a SQLite store: what is refused, what is made durable, and writers that take turns."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from broodline.controller.controller import Controller
from broodline.errors import StoreError, StoreUnavailable
from broodline.storage.location import open_store
from broodline.storage.sql import schema
from broodline.storage.sqlite import connections as sqlite_engine
from broodline.storage.sqlite import file as sqlite_file
from broodline.storage.sqlite.file import file_system_of
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing import Crew, check_invariants, study_from_tables

WRITES = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "broodline.db"


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


# Refused files, and upgrades


def newer(path: Path) -> None:
    SqliteStore(path).close()
    with raw(path) as connection:
        connection.execute("UPDATE broodline SET version = ?", [schema.VERSION + 1])


def anothers(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")


def corrupt(path: Path) -> None:
    SqliteStore(path).close()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a newer schema": (newer, f"newer broodline.*schema {schema.VERSION + 1}.*\nhelp: upgrade"),
    "not a database": (lambda path: path.write_text("hello\n" * 100), "is not an SQLite database"),
    "a short text": (lambda path: path.write_text("x"), "is not an SQLite database"),
    "a directory": (Path.mkdir, "is a directory"),
    "the database of another program": (anothers, "of another program"),
    "a corrupt database": (corrupt, "is corrupt"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=list(REFUSED))
def test_a_file_that_is_no_store_is_refused_and_left_unchanged(path: Path, make: Callable[[Path], object], message: str) -> None:
    make(path)
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(StoreError, match=message) as refused:
        SqliteStore(path)
    assert str(path) in str(refused.value)
    assert before is None or path.read_bytes() == before


def test_a_missing_database_is_created_only_on_request(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no such database"):
        SqliteStore(path, create=False)
    assert not path.exists()
    with pytest.raises(StoreError, match="there is no directory"):
        SqliteStore(path.parent / "gone" / "broodline.db")


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    SqliteStore(path).close()
    with closing(open_store(f"sqlite:///{path}", create=False)) as store:
        assert store.studies() == ()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "lustre", "fuse.sshfs", "9p"])
def test_a_network_file_system_is_refused(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "file_system_of", lambda _: kind)
    with pytest.raises(StoreError, match=rf"network file system \({kind}\).*\nhelp: put the store on a local disk"):
        SqliteStore(path)
    assert not path.exists()


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/me/scratch xfs rw 0 0
server:/odd /mnt/with\\040space cifs rw 0 0
tmpfs /home/me tmpfs rw 0 0
server:/b /srv/x lustre rw 0 0
overlay /srv/x ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/var", "ext4"),
        ("/home", "nfs4"),
        ("/home/you/deep/er", "nfs4"),
        ("/homework", "ext4"),
        ("/home/me/scratch/a", "xfs"),
        ("/home/me/other", "tmpfs"),
        ("/mnt/with space/x", "cifs"),
        ("/srv/x", "ext4"),  # what was mounted last is what is seen
    ],
)
def test_the_file_system_is_that_of_the_innermost_mount(tmp_path: Path, directory: str, kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert file_system_of(Path(directory), mounts) == kind


def test_an_unknown_file_system_is_accepted(tmp_path: Path) -> None:
    assert file_system_of(tmp_path, tmp_path / "no such file") is None


# Durability


def test_every_commit_is_on_the_disk_before_it_is_acknowledged(path: Path) -> None:
    asked: dict[str, Any] = {}
    with closing(SqliteStore(path)) as store:
        store.create("s", "{}")
        for transaction in (store.transaction, store.snapshot):
            with transaction("s") as opened:
                connection = opened._connection
                asked |= {pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() for pragma in PRAGMAS}
                assert asked == PRAGMAS


PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}  # 2 is FULL


def test_a_writer_takes_the_lock_before_it_reads(path: Path) -> None:
    with closing(SqliteStore(path)) as store, raw(path) as other:
        store.create("s", "{}")
        other.execute("PRAGMA busy_timeout=0")
        with store.transaction("s"), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        with store.snapshot("s"):
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")


# Concurrent writers


def add_steps(path: Path, start: Barrier) -> None:
    start.wait()
    with closing(SqliteStore(path)) as store:
        store.create("s", "{}")
        for _ in range(WRITES):
            with store.transaction("s") as transaction:
                progress = transaction.progress()
                transaction.save_progress(progress.evolve(steps=progress.steps + 1))


def train(path: Path, start: Barrier) -> None:
    start.wait()
    with closing(SqliteStore(path)) as store:
        controller = Controller(store)
        controller.open(STUDY)
        name = multiprocessing.current_process().name
        crew = Crew(client=controller, study=STUDY.name, train=lambda trial: {"score": trial.params["lr"]}, workers=1)
        crew.lives[name] = 0
        answer = controller.ask(STUDY.name, crew.identity(name))
        crew.hear(name, answer)
        while crew.ended is None:
            if crew.held:
                crew.end(name)
            else:
                controller.wait(0.05)
                crew.hear(name, controller.ask(STUDY.name, crew.identity(name)))


STUDY = study_from_tables(budget={"trials": 60})


def race(work: Callable[[Path, Barrier], None], path: Path, processes: int) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(processes)
    racers = [context.Process(target=work, args=(path, start), name=f"racer {number}") for number in range(processes)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(100)
    assert [racer.exitcode for racer in racers] == [0] * processes


def test_writers_of_several_processes_lose_no_update_and_get_no_lock_error(path: Path) -> None:
    race(add_steps, path, 3)  # they race for making the database, too
    with closing(SqliteStore(path)) as store, store.snapshot("s") as records:
        assert records.progress().steps == 3 * WRITES


def test_workers_of_several_processes_train_every_trial_once(path: Path) -> None:
    race(train, path, 3)
    with closing(SqliteStore(path)) as store:
        check_invariants(store, STUDY.name)
        with store.snapshot(STUDY.name) as records:
            trials = list(records.trials())
    assert len(trials) == 60
    assert {(trial.attempt, trial.lost) for trial in trials} == {(1, 0)}


def test_threads_may_share_a_store(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        store.create("s", "{}")

        def work() -> None:
            for _ in range(20):
                with store.transaction("s") as transaction:
                    progress = transaction.progress()
                    transaction.save_progress(progress.evolve(steps=progress.steps + 1))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with store.snapshot("s") as records:
            assert records.progress().steps == 80


def test_a_store_that_is_locked_for_too_long_is_unavailable_and_unchanged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(SqliteStore(path)) as store, raw(path) as other:
        store.create("s", "{}")
        monkeypatch.setattr(sqlite_engine, "BUSY_SECONDS", 0.05)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"), store.transaction("s") as transaction:
            transaction.redefine("changed")
        other.execute("ROLLBACK")
        with store.transaction("s") as transaction:
            assert transaction.definition() == "{}"


def test_a_full_store_is_reported_and_unchanged(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        store.create("s", "{}")
        with store.snapshot("s") as records:
            pages = records._connection.exec_driver_sql("PRAGMA page_count").scalar()
            records._connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        with pytest.raises(StoreUnavailable, match="full"), store.transaction("s") as transaction:
            transaction.redefine("x" * 100_000)
        with store.snapshot("s") as records:
            assert records.definition() == "{}"


def test_a_wait_ends_at_a_commit_of_another_process(path: Path) -> None:
    with closing(SqliteStore(path)) as store, closing(SqliteStore(path)) as other:
        store.create("s", "{}")
        with store.transaction("s"):
            pass
        woken = threading.Event()

        def wait() -> None:
            store.wait_for_change(60)
            woken.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        with other.transaction("s") as transaction:
            transaction.redefine("new")
        assert woken.wait(30)
        waiting.join()


def test_a_wait_continues_while_the_store_does_not_answer(path: Path) -> None:
    path.parent.joinpath("there").mkdir()
    with closing(SqliteStore(path.parent / "there" / "broodline.db")) as store:
        path.parent.joinpath("there").rename(path.parent / "gone")
        store.wait_for_change(0.01)
        with pytest.raises(StoreUnavailable), store.transaction("s"):
            pass


def test_the_tables_are_those_of_the_schema(path: Path) -> None:
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version FROM broodline").fetchall() == [(schema.VERSION,)]
    engine = sa.create_engine(f"sqlite:///{path}")
    inspected = sa.inspect(engine)
    assert set(inspected.get_table_names()) == set(schema.metadata.tables)
    engine.dispose()


def test_opening_a_new_database_waits_while_another_process_creates_it(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        done = threading.Timer(0.1, other.execute, ["ROLLBACK"])
        done.start()
        with closing(SqliteStore(path)) as store:
            assert store.studies() == ()
        done.join()


def test_readers_that_overlap_do_not_let_the_log_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broodline.storage.sqlite.store.LOG_BYTES", 1 << 18)
    path, over = tmp_path / "broodline.db", threading.Event()

    def read() -> None:
        with closing(SqliteStore(path)) as store:
            while not over.is_set():
                with store.snapshot("s") as records:
                    records.definition()
                    time.sleep(0.002)  # so that there is always a reader

    with closing(SqliteStore(path)) as store:
        store.create("s", "{}")
        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        longest = 0
        for number in range(150):
            with store.transaction("s") as records:
                records.redefine(f"{number} " * 20_000)
            longest = max(longest, path.with_name("broodline.db-wal").stat().st_size)
        over.set()
        for reader in readers:
            reader.join()
    assert longest < 3 << 20  # 12 MB were written
