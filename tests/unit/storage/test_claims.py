"""A store and the directory of its files belong together: which directory a database uses, and which it refuses."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from broodline.controller.controller import Controller
from broodline.core.trial import Trial, TrialState
from broodline.errors import FilesMissing, StoreError
from broodline.storage.location import StudyLocation
from broodline.storage.root import IDENTITY_FILE, identity_in, is_vacant, mark
from broodline.storage.sqlite.claims import check_new, claim
from broodline.storage.sqlite.identity import has_checkpoints, identity_of
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing import study_from_tables

STUDY = study_from_tables()
CHECKPOINT = "checkpoints/000000.1"


def database(path: Path, *, checkpoint: bool = True) -> Path:
    """A database with one study, whose one trial has a checkpoint."""
    path.parent.mkdir(exist_ok=True)
    with closing(SqliteStore(path)) as store:
        Controller(store).open(STUDY)
        with store.transaction(STUDY.name) as records:
            done = Trial(
                number=0, member=0, generation=0, params={}, steps=1, attempt=1, state=TrialState.COMPLETED, fitness=(1.0,)
            )
            records.insert(done.evolve(checkpoint=CHECKPOINT if checkpoint else None))
    return path


def of_former_version(path: Path) -> Path:
    """The same database, as a version without identities left it, with the directory that it used."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP TABLE identity; UPDATE broodline SET version = 3")
    weights(path.with_name(f"{path.stem}.files")).touch()
    return path


def weights(root: Path) -> Path:
    """The file of the checkpoint in a directory."""
    made = root / STUDY.name / CHECKPOINT
    made.mkdir(parents=True, exist_ok=True)
    return made / "weights"


def claimed(path: Path) -> Path:
    """Opens a database, which gives a former version an identity, and claims its directory."""
    SqliteStore(path, create=False).close()
    return claim(path).root


def used(path: Path) -> Path:
    """A database whose directory was made by its first claim and holds its checkpoint."""
    database(path, checkpoint=False)
    weights(claimed(path)).write_text(path.name)
    with closing(SqliteStore(path)) as store, store.transaction(STUDY.name) as records:
        trial = records.trial(0)
        assert trial is not None
        records.update(trial.evolve(checkpoint=CHECKPOINT))
    return path


def id_of(path: Path) -> str:
    identity = identity_of(path)
    assert identity is not None
    return identity.id


def test_a_new_database_has_a_directory_of_its_whole_name_that_carries_its_identity(tmp_path: Path) -> None:
    one, other = (used(tmp_path / name) for name in ("x.db", "x.sqlite"))
    assert [claimed(one).name, claimed(other).name] == ["x.db.files", "x.sqlite.files"]
    assert identity_in(claimed(one)) == id_of(one) != id_of(other) == identity_in(claimed(other))


def test_a_former_database_adopts_its_directory_in_place(tmp_path: Path) -> None:
    path = of_former_version(database(tmp_path / "x.db"))
    assert claimed(path) == claimed(path) == tmp_path / "x.files"
    assert weights(tmp_path / "x.files").exists()
    assert identity_in(tmp_path / "x.files") == id_of(path)


def test_a_new_database_next_to_a_former_one_leaves_the_directory_of_that_one_alone(tmp_path: Path) -> None:
    former = of_former_version(database(tmp_path / "x.db"))
    assert claimed(database(tmp_path / "x.sqlite", checkpoint=False)) == tmp_path / "x.sqlite.files"
    assert claimed(former) == tmp_path / "x.files"


def test_a_directory_that_two_former_databases_shared_is_refused_until_a_person_decides(tmp_path: Path) -> None:
    one, other = (of_former_version(database(tmp_path / name)) for name in ("x.db", "x.sqlite"))
    for path in (one, other):
        with pytest.raises(StoreError, match=r"x\.files: may belong to .*\nhelp: .*move x\.\w+ into another directory"):
            claimed(path)
    assert identity_in(tmp_path / "x.files") is None
    (tmp_path / "elsewhere").mkdir()
    other.rename(tmp_path / "elsewhere" / other.name)
    assert claimed(one) == tmp_path / "x.files"


def test_a_crash_between_the_adoption_of_a_directory_and_its_record_is_repeated(tmp_path: Path) -> None:
    path = of_former_version(database(tmp_path / "x.db"))
    SqliteStore(path).close()
    mark(tmp_path / "x.files", id_of(path))  # the database does not know yet
    assert claimed(path) == tmp_path / "x.files"


@pytest.mark.parametrize("unmounted", [False, True], ids=["no directory", "an empty mount point"])
def test_without_the_directory_of_its_checkpoints_a_database_is_refused_and_nothing_changes(
    tmp_path: Path, unmounted: bool
) -> None:
    path = used(tmp_path / "x.db")
    root, before = claimed(path), identity_of(path)
    root.rename(tmp_path / "away")
    if unmounted:
        root.mkdir()
    with pytest.raises(
        FilesMissing, match=r"x\.db\.files: the directory .* is not there; nothing was changed\nhelp: mount or restore it"
    ):
        claimed(path)
    assert (identity_of(path), has_checkpoints(path)) == (before, True)
    assert is_vacant(root)
    shutil.rmtree(root, ignore_errors=True)
    (tmp_path / "away").rename(root)
    assert claimed(path) == root


def test_a_directory_of_another_store_is_refused(tmp_path: Path) -> None:
    path, other = used(tmp_path / "x.db"), used(tmp_path / "y.db")
    shutil.rmtree(tmp_path / "x.db.files")
    (tmp_path / "y.db.files").rename(tmp_path / "x.db.files")
    with pytest.raises(StoreError, match=r"x\.db\.files: belongs to another store than x\.db"):
        claimed(path)
    assert identity_in(tmp_path / "x.db.files") == id_of(other)


def test_files_that_show_no_owner_are_refused_by_a_new_database(tmp_path: Path) -> None:
    weights(tmp_path / "x.db.files").touch()
    with pytest.raises(StoreError, match=r"holds files, and does not show that they belong to x\.db"):
        claimed(database(tmp_path / "x.db", checkpoint=False))


def test_a_lost_identity_file_can_be_written_again_as_the_message_says(tmp_path: Path) -> None:
    path = used(tmp_path / "x.db")
    (tmp_path / "x.db.files" / IDENTITY_FILE).unlink()
    with pytest.raises(FilesMissing) as refused:
        claimed(path)
    document = str(refused.value).partition("write ")[2].partition(" into ")[0]
    (tmp_path / "x.db.files" / IDENTITY_FILE).write_text(document)
    assert claimed(path) == tmp_path / "x.db.files"


def test_a_database_that_was_renamed_finds_its_directory(tmp_path: Path) -> None:
    path = used(tmp_path / "x.db")
    path.rename(tmp_path / "y.db")
    assert claimed(tmp_path / "y.db") == claimed(tmp_path / "y.db") == tmp_path / "x.db.files"
    with pytest.raises(
        StoreError, match=r"x\.db: the database is gone, and the directory of its files x\.db\.files is still there"
    ):
        check_new(path)


@pytest.mark.parametrize("former", [False, True])
def test_a_folder_that_was_moved_is_the_same_study(tmp_path: Path, former: bool) -> None:
    path = used(tmp_path / "a" / "x.db")
    if former:
        shutil.rmtree(tmp_path / "a" / "x.db.files")
        of_former_version(path)
    root, before = claimed(path), id_of(path)
    (tmp_path / "a").rename(tmp_path / "b")
    moved = tmp_path / "b" / "x.db"
    assert claim(moved).note == ""
    assert claimed(moved) == tmp_path / "b" / root.name
    assert id_of(moved) == before


def test_a_folder_that_was_copied_is_another_study_and_says_so_once(tmp_path: Path) -> None:
    path = used(tmp_path / "a" / "x.db")
    before = id_of(path)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copy = tmp_path / "b" / "x.db"
    made = claim(copy)
    assert made.note == f"{copy} is a copy of {path}; from now on it is a study of its own"
    assert made.id == id_of(copy) == identity_in(tmp_path / "b" / "x.db.files") != before
    assert claim(copy).note == claim(path).note == ""
    assert id_of(path) == identity_in(tmp_path / "a" / "x.db.files") == before


def test_a_copy_whose_fork_was_interrupted_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = used(tmp_path / "a" / "x.db")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copy = tmp_path / "b" / "x.db"

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("broodline.storage.sqlite.claims.mark", crash)
        with pytest.raises(KeyboardInterrupt):
            claim(copy)
    assert identity_in(tmp_path / "b" / "x.db.files") == id_of(path) != id_of(copy)
    assert claim(copy).root == tmp_path / "b" / "x.db.files"
    assert identity_in(tmp_path / "b" / "x.db.files") == id_of(copy)


@pytest.mark.parametrize("linked", [False, True], ids=["beside it", "elsewhere, with a link to its files"])
def test_a_copy_without_a_copy_of_the_files_leaves_those_of_the_original_alone(tmp_path: Path, linked: bool) -> None:
    path = used(tmp_path / "a" / "x.db")
    copy = tmp_path / ("b" if linked else "a") / ("x.db" if linked else "backup.db")
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(path, copy)
    if linked:
        (tmp_path / "b" / "x.db.files").symlink_to(tmp_path / "a" / "x.db.files")
    before = id_of(path)
    with pytest.raises(FilesMissing, match=r"is a copy of .*x\.db, without a copy of its files\nhelp: copy .*x\.db\.files to "):
        claimed(copy)
    assert id_of(copy) == id_of(path) == identity_in(tmp_path / "a" / "x.db.files") == before


def test_another_mount_of_a_database_is_no_copy(tmp_path: Path) -> None:
    path = used(tmp_path / "a" / "x.db")
    (tmp_path / "b").mkdir()
    os.link(path, tmp_path / "b" / "x.db")  # as a bind mount: another path, and the same file
    (tmp_path / "b" / "x.db.files").symlink_to(tmp_path / "a" / "x.db.files")
    before = id_of(path)
    assert claim(tmp_path / "b" / "x.db").note == ""
    assert id_of(path) == before


def test_a_document_without_an_identity_is_none(tmp_path: Path) -> None:
    for content in ("", "[]", "{}", json.dumps({"store": 3}), json.dumps({"store": ""}), "\0"):
        (tmp_path / IDENTITY_FILE).write_text(content)
        assert identity_in(tmp_path) is None


def test_a_new_disk_is_vacant_and_becomes_the_directory(tmp_path: Path) -> None:
    (tmp_path / "x.db.files" / "lost+found").mkdir(parents=True)
    assert claimed(database(tmp_path / "x.db", checkpoint=False)) == tmp_path / "x.db.files"


def test_files_for_reading_claim_nothing(tmp_path: Path) -> None:
    path = of_former_version(database(tmp_path / "x.db"))
    SqliteStore(path).close()
    assert StudyLocation(url=f"sqlite:///{path}").files_of("s").root == tmp_path / "x.files" / "s"
    assert identity_in(tmp_path / "x.files") is None


def test_a_file_in_the_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.db.files").touch()
    with pytest.raises(StoreError, match=r"x\.db\.files: can't be written: Not a directory"):
        claimed(database(tmp_path / "x.db", checkpoint=False))
