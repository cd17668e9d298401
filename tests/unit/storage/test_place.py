"""A database whose file loses its name while it is open: no commit is acknowledged, and what it held is saved."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broodline.controller.controller import Controller
from broodline.errors import StoreMoved
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing import Crew, study_from_tables

STUDY = study_from_tables(budget={"trials": 4})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(path)) as opened:
        Controller(opened).open(STUDY)
        Crew(client=Controller(opened), study=STUDY.name, train=lambda _: {"score": 1.0}).run()
        yield opened


def unlink(path: Path) -> None:
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()


def completed_in(path: Path) -> int:
    with closing(SqliteStore(path, create=False)) as opened, opened.snapshot(STUDY.name) as records:
        return records.progress().completed


def test_what_a_deleted_database_held_is_saved_next_to_its_former_place(store: SqliteStore, path: Path) -> None:
    unlink(path)
    with (
        pytest.raises(StoreMoved, match=r"x\.db: the database was deleted .*rename x\.db\.rescued to x\.db"),
        store.snapshot("s"),
    ):
        pass
    assert completed_in(path.with_name("x.db.rescued")) == 4
    assert not path.exists()
    with pytest.raises(StoreMoved), store.transaction("s"):
        pass
    store.wait_for_change(0.01)
    assert sorted(each.name for each in path.parent.iterdir()) == ["x.db.rescued"]


def test_a_transaction_that_is_open_when_its_file_goes_does_not_commit(store: SqliteStore, path: Path) -> None:
    def write_while_it_goes() -> None:
        with store.transaction(STUDY.name) as records:
            records.save_progress(records.progress().evolve(completed=99))
            path.rename(path.with_name("elsewhere"))

    with pytest.raises(StoreMoved):
        write_while_it_goes()
    path.with_name("elsewhere").rename(path)
    with store.snapshot(STUDY.name) as records:
        assert records.progress().completed == 4


def test_a_database_that_is_replaced_by_another_is_not_written(store: SqliteStore, path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.write_bytes(b"")
    with pytest.raises(StoreMoved, match="replaced by another file"), store.transaction(STUDY.name):
        pass
    assert path.read_bytes() == b""


def test_a_file_that_is_put_back_is_used_again(store: SqliteStore, path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    with pytest.raises(StoreMoved), store.transaction(STUDY.name):
        pass
    path.with_name("elsewhere").rename(path)
    with store.transaction(STUDY.name) as records:
        assert records.progress().completed == 4


def test_a_copy_that_was_saved_before_is_replaced_only_by_one_that_holds_as_much(store: SqliteStore, path: Path) -> None:
    rescued = path.with_name("x.db.rescued")
    for trials, kept in ((0, 4), (99, 99)):
        store.copy_to(path.with_name("other"))
        with closing(sqlite3.connect(path.with_name("other"))) as connection:
            connection.execute("UPDATE studies SET trials = ?, finished = ?, completed = ?", (trials, trials, trials))
            connection.commit()
        os.replace(path.with_name("other"), rescued)
        path.rename(path.with_name("elsewhere"))
        with pytest.raises(StoreMoved), store.snapshot(STUDY.name):
            pass
        assert completed_in(rescued) == kept
        path.with_name("elsewhere").rename(path)
        with store.snapshot(STUDY.name):
            pass


def test_nothing_fails_where_there_is_no_room_for_a_copy(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    unlink(path)
    with pytest.raises(StoreMoved, match=r"put the same file back$"), store.snapshot("s"):
        pass
    assert list(path.parent.iterdir()) == []
