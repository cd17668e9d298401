"""The lineage that a continuation copies, on a real disk and in a real store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broodline.controller.client import Start, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.trial import Measurement, Trial
from broodline.storage.base import Store, Transaction
from broodline.storage.location import files_in
from broodline.storage.sqlite.store import SqliteStore
from broodline.storage.study_files import StudyFiles
from broodline.studies.continuation import continuation_of, copy_lineage
from broodline.testing import study_from_tables

STUDY = study_from_tables(population=2, budget={"generations": 1})
ALONE = continuation_of(STUDY, "alone", start=10, steps=10)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(SqliteStore(tmp_path / "broodline.db")) as store:
        Controller(store).open(STUDY)
        yield store


@pytest.fixture
def source(store: Store, tmp_path: Path) -> StudyFiles:
    """The files of a study with two trials. The weights of each are its number."""
    files, controller, identity = files_in(tmp_path / "source"), Controller(store), WorkerSession(worker="0", session="a")
    files.prepare()
    answer = controller.ask(STUDY.name, identity)
    while isinstance(answer, Start):
        trial = answer.trial
        (files.checkpoints.begin(trial) / "weights").write_text(f"{trial.number}")
        last = [Measurement(step=trial.end, metrics={"score": 1.0})]
        answer = controller.complete(STUDY.name, trial.number, trial.attempt, last, files.checkpoints.commit(trial), identity)
    return files


def test_a_copy_succeeds_after_one_that_was_never_recorded(
    store: Store, source: StudyFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.snapshot(STUDY.name) as records:
        one, other = records.trials()
    files = files_in(tmp_path / "alone")
    files.prepare()
    Controller(store).open(ALONE)

    def killed(_records: Transaction, _trial: Trial) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("broodline.storage.sql.transaction.SqlTransaction.insert", killed)
        with pytest.raises(KeyboardInterrupt):
            copy_lineage(store, files, ALONE.name, lineage=[one], source=source)
    copy_lineage(store, files, ALONE.name, lineage=[other], source=source)
    with store.snapshot(ALONE.name) as records:
        (copy,) = records.trials()
    assert copy.checkpoint is not None
    assert copy.params == other.params
    assert (files.checkpoints.open(copy.checkpoint) / "weights").read_text() == f"{other.number}"
