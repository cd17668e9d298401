"""The files of a store that hosts share: a directory that is given, and a proof that every process sees the same one."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broodline.controller.access import client_of
from broodline.core.trial import Trial, TrialState
from broodline.errors import FilesMissing, StoreError, StudyNotFound, UsageError
from broodline.registry import STORES, Registry
from broodline.storage.base import FilesRecord, Store
from broodline.storage.location import StudyLocation, location_of
from broodline.storage.root import identity_in
from broodline.storage.sqlite.store import SqliteStore
from broodline.studies.removal import remove
from broodline.testing import study_from_tables

STUDY = study_from_tables()
NAME = STUDY.name
URL = "elsewhere://study"


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of another scheme than SQLite's; each test holds it open too."""

    def open_url(_url: str, *, create: bool = True) -> Store:
        return SqliteStore(tmp_path / "elsewhere.db", create=create)

    found = Registry.load
    monkeypatch.setattr(
        Registry, "load", lambda self, name: open_url if (self, name) == (STORES, "elsewhere") else found(self, name)
    )
    with closing(open_url(URL)) as store:
        client_of(store).open(STUDY)
        yield store


def at(files: Path | None) -> StudyLocation:
    return StudyLocation(url=URL, files=files)


def complete_a_trial(store: Store) -> None:
    done = Trial(
        number=0, member=0, generation=0, params={}, steps=1, attempt=1, state=TrialState.COMPLETED, checkpoint="checkpoints/0.1"
    )
    with store.transaction(NAME) as records:
        records.insert(done)


def on_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "another")


def test_a_vacant_directory_is_made_and_carries_the_identity_of_the_study(tmp_path: Path, store: Store) -> None:
    claimed = at(tmp_path / "deep" / "files").claim(NAME)
    record = store.files_record(NAME)
    assert claimed.root == claimed.carrier == tmp_path / "deep" / "files" / NAME
    assert record == FilesRecord(id=str(claimed.identity), place=f"{socket.gethostname()}:{claimed.root}")
    assert identity_in(claimed.root) == claimed.identity
    assert at(tmp_path / "deep" / "files").claim(NAME) == claimed


def test_every_host_that_sees_the_directory_may_use_it_under_its_own_path(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(tmp_path / "files").claim(NAME)
    complete_a_trial(store)
    on_another_host(monkeypatch)
    (tmp_path / "mount").symlink_to(tmp_path / "files")
    assert at(tmp_path / "mount").claim(NAME).root == tmp_path / "mount" / NAME


def test_a_vacant_directory_is_refused_if_the_records_name_checkpoints(tmp_path: Path, store: Store) -> None:
    at(tmp_path / "files").claim(NAME)
    complete_a_trial(store)
    shutil.move(tmp_path / "files", tmp_path / "away")
    before = store.files_record(NAME)
    with pytest.raises(FilesMissing, match=rf"(?s){NAME}: the directory with the checkpoints .*last used as .*--files DIR"):
        at(tmp_path / "files").claim(NAME)
    assert (store.files_record(NAME), (tmp_path / "files").exists()) == (before, False)


def test_a_vacant_directory_is_refused_while_another_one_is_marked(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(tmp_path / "files").claim(NAME)
    with pytest.raises(FilesMissing, match="last used as"):
        at(tmp_path / "others").claim(NAME)
    on_another_host(monkeypatch)
    shutil.rmtree(tmp_path / "files")  # the other host has no such directory, so it can't know that it is gone
    with pytest.raises(FilesMissing, match="last used as"):
        at(tmp_path / "others").claim(NAME)
    at(None).forget_files(NAME)
    assert at(tmp_path / "others").claim(NAME).root == tmp_path / "others" / NAME


def test_a_directory_that_is_gone_without_a_loss_is_made_again(tmp_path: Path) -> None:
    first = at(tmp_path / "files").claim(NAME)
    shutil.rmtree(tmp_path / "files")
    assert at(tmp_path / "files").claim(NAME) == first


def test_a_directory_of_another_study_is_refused(tmp_path: Path) -> None:
    at(tmp_path / "files")._place.claim("other", at(None)._opened, create=True)
    shutil.copytree(tmp_path / "files" / "other", tmp_path / "files" / NAME)
    with pytest.raises(StoreError, match=f"belongs to another study than '{NAME}'"):
        at(tmp_path / "files").claim(NAME)


def test_a_directory_with_files_that_shows_no_identity_is_refused(tmp_path: Path) -> None:
    (tmp_path / "files" / NAME / "checkpoints").mkdir(parents=True)
    with pytest.raises(StoreError, match="does not show that they belong"):
        at(tmp_path / "files").claim(NAME)


def test_of_two_processes_that_find_two_vacant_directories_one_is_refused(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process claims between the first one's look and its own claim."""
    replaced = SqliteStore.replace_files_record
    rivals = iter([None])

    def replace(self: SqliteStore, study: str, before: FilesRecord | None, after: FilesRecord | None) -> bool:
        if before is not None and next(rivals, "none") is None:
            at(tmp_path / "first").claim(NAME)
        return replaced(self, study, before, after)

    monkeypatch.setattr(SqliteStore, "replace_files_record", replace)
    with pytest.raises(FilesMissing):
        at(tmp_path / "second").claim(NAME)
    assert (identity_in(tmp_path / "first" / NAME) is None, (tmp_path / "second").exists()) == (False, False)


def test_without_a_given_directory_the_recorded_one_and_then_the_default_are_used(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--files DIR"):
        at(None).claim(NAME)
    near = location_of(URL, files=None, near=tmp_path)
    assert near.claim(NAME).root == tmp_path / "broodline.files" / NAME
    assert at(None).claim(NAME).root == at(None).files_of(NAME).root == tmp_path / "broodline.files" / NAME
    shutil.move(tmp_path / "broodline.files", tmp_path / "moved")
    at(tmp_path / "moved").claim(NAME)
    assert near.claim(NAME).root == near.files_of(NAME).root == tmp_path / "moved" / NAME


def test_commands_that_read_refuse_nothing(tmp_path: Path, store: Store) -> None:
    complete_a_trial(store)
    files = at(tmp_path / "nowhere").files_of(NAME)
    assert (files.root, files.are_present) == (tmp_path / "nowhere" / NAME, True)
    at(tmp_path / "nowhere").files_of("no such study")
    assert not (tmp_path / "nowhere").exists()


def test_files_that_go_away_are_noticed(tmp_path: Path) -> None:
    at(tmp_path / "files").claim(NAME)
    files = at(None).files_of(NAME)
    assert files.are_present
    shutil.move(tmp_path / "files", tmp_path / "away")
    assert not files.are_present


def test_a_study_and_its_files_are_deleted_and_a_second_call_finishes_an_interrupted_one(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = at(tmp_path / "files").claim(NAME).root
    (root / "logs").mkdir()
    with monkeypatch.context() as patched:

        def crash(_files: object) -> None:
            raise KeyboardInterrupt

        patched.setattr("broodline.studies.removal._delete_files", crash)
        with pytest.raises(KeyboardInterrupt):
            remove(at(None), NAME)
    assert (store.studies(), (root / "logs").is_dir()) == ((), True)
    remove(at(None), NAME)
    assert (root.exists(), store.files_record(NAME)) == (False, None)
    with pytest.raises(StudyNotFound):
        remove(at(tmp_path / "files"), NAME)


def test_sqlite_has_its_files_next_to_the_database(tmp_path: Path) -> None:
    location = StudyLocation(url=f"sqlite:///{tmp_path / 'x.db'}", files=tmp_path / "files")
    with pytest.raises(UsageError, match=r"next to the database x\.db"):
        location.files_of(NAME)


def test_a_directory_that_only_the_record_names_is_used_if_it_proves_to_be_right_and_never_made(
    tmp_path: Path, store: Store
) -> None:
    """A client of a service writes the record, so it may name any directory of any host."""
    claimed = at(tmp_path / "files").claim(NAME)
    assert at(None).claim(NAME) == claimed
    record = store.files_record(NAME)
    assert record is not None
    elsewhere = tmp_path / "of" / "somebody"
    for place in (f"{socket.gethostname()}:{elsewhere}", f"another:{elsewhere}"):
        planted = FilesRecord(id=record.id, place=place)
        assert store.replace_files_record(NAME, store.files_record(NAME), planted)
        with pytest.raises(FilesMissing, match="is not there"):
            at(None).claim(NAME)
        assert not elsewhere.parent.exists()
        assert store.files_record(NAME) == planted
    elsewhere.mkdir(parents=True)
    with pytest.raises(FilesMissing, match="is not there"):
        at(None).claim(NAME)
    assert list(elsewhere.iterdir()) == []
