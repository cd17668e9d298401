"""URLs, the implementations that their schemes select, and a study that is opened as one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from broodline.controller.controller import Controller
from broodline.core.trial import Trial
from broodline.errors import StoreError, StudyNotFound
from broodline.storage.location import StudyLocation, default_location, open_checkpoints, open_store
from broodline.storage.urls import IN_MEMORY, absolute, shown
from broodline.testing import study_from_tables


@pytest.mark.parametrize("url", ["", "sqlite:", "sqlite:///", "broodline.db"])
def test_a_url_without_a_scheme_or_a_path_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match=r"names no store: write sqlite:///PATH"):
        open_store(url)


def test_an_unknown_scheme_is_refused_with_the_schemes_that_are_installed() -> None:
    with pytest.raises(StoreError, match=r"'mysql://host/db'.* unknown store 'mysql'; installed: .*\bsqlite\b"):
        open_store("mysql://host/db")
    with pytest.raises(StoreError, match=r"unknown checkpoint store 's3'; installed: .*\bfile\b"):
        open_checkpoints("s3://bucket/study")


def test_a_url_says_where_the_store_and_its_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("sqlite:///a/b.db") == f"sqlite:///{tmp_path}/a/b.db"
    assert absolute("sqlite:////a/b.db") == "sqlite:////a/b.db"
    assert absolute(IN_MEMORY) == IN_MEMORY


def test_every_path_to_a_database_leads_to_one_store_and_one_directory(tmp_path: Path) -> None:
    (tmp_path / "real.db").touch()
    (tmp_path / "link.db").symlink_to("real.db")
    linked = StudyLocation(url=f"sqlite:///{tmp_path / 'link.db'}")
    assert linked == StudyLocation(url=f"sqlite:///{tmp_path / 'real.db'}")
    assert linked.files_of("s").root == tmp_path / "real.db.files" / "s"


def test_an_open_study_has_its_records_and_its_checkpoints(tmp_path: Path) -> None:
    study = study_from_tables()
    location = default_location(tmp_path / "study.toml")
    with location.open_study(study.name, create=True) as opened:
        Controller(opened.store).open(study)
        opened.files.prepare()
        trial = Trial(number=0, member=0, generation=0, params={}, steps=1, attempt=1)
        (opened.files.checkpoints.begin(trial) / "weights").write_text("1")
        checkpoint = opened.files.checkpoints.commit(trial)
    with location.open_study(study.name) as opened:
        with opened.snapshot() as records, opened.transaction() as same:
            assert records.definition() == same.definition()
        assert (opened.files.checkpoints.open(checkpoint) / "weights").read_text() == "1"
        assert opened.files.root == tmp_path / "broodline.db.files" / study.name


def test_to_open_a_study_creates_neither_a_store_nor_a_study_unless_asked_to(tmp_path: Path) -> None:
    location = StudyLocation(url=f"sqlite:///{tmp_path / 'broodline.db'}")
    with pytest.raises(StoreError, match="there is no such database"), location.open_study("s"):
        pass
    assert list(tmp_path.iterdir()) == []
    location.open().close()
    with location.open_study("s") as opened, pytest.raises(StudyNotFound), opened.snapshot():
        pass


def test_without_psycopg_only_postgresql_is_missing_and_the_error_names_the_remedy() -> None:
    code = """
import sys
sys.modules["psycopg"] = None
from broodline.storage.location import open_store
open_store("sqlite://").close()
open_store("postgresql://host/db")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "StoreError: a PostgreSQL store needs psycopg" in done.stderr
    assert "help: pip install 'broodline[postgres]'" in done.stderr


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("postgresql://me:a/b@c@host:5432/db?x=1", "postgresql://me@host:5432/db?x=1"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql:///db?password=secret", "postgresql:///db?"),
        ("sqlite:////data/a:b@c.db", "sqlite:////data/a:b@c.db"),
    ],
)
def test_messages_show_a_url_without_its_password(url: str, safe: str) -> None:
    assert shown(url) == safe
    assert "secret" not in repr(StudyLocation(url="postgresql://me:secret@host/db"))
