"""What crashes left on the disk is swept, and nothing that somebody works with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broodline.controller.client import Start, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.trial import Measurement, Trial
from broodline.storage.base import Store
from broodline.storage.checkpoints.local import AttemptDirectory, StudyFiles
from broodline.storage.sqlite.store import SqliteStore
from broodline.studies.recovery import delete_orphans
from broodline.testing import study_from_tables

ASKER = WorkerSession(worker="0", session="a")
STUDY = study_from_tables(population=2)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(SqliteStore(tmp_path / "broodline.db")) as store:
        Controller(store).open(STUDY)
        yield store


def begin_trial(store: Store, files: StudyFiles) -> Trial:
    answer = Controller(store).ask(STUDY.name, ASKER)
    assert isinstance(answer, Start)
    (files.begin(answer.trial) / "weights").write_text("1")
    return answer.trial


def complete(store: Store, files: StudyFiles, trial: Trial) -> None:
    last = [Measurement(step=trial.end, metrics={"score": 1.0})]
    Controller(store).complete(STUDY.name, trial.number, trial.attempt, last, files.commit(trial), ASKER)


def files_in(directory: Path) -> StudyFiles:
    files = StudyFiles(directory / "files")
    files.prepare()
    return files


def test_what_is_recorded_or_in_the_making_stays_and_the_rest_goes(store: Store, tmp_path: Path) -> None:
    files = files_in(tmp_path)
    complete(store, files, begin_trial(store, files))
    running = begin_trial(store, files)
    (files.staging / "000001.7").mkdir()
    files.begin(running.evolve(number=99))
    (files.checkpoints / "000000.8").mkdir()
    assert delete_orphans(store, STUDY.name, files) == 3
    left = sorted(left.path.relative_to(files.root).as_posix() for left in files.attempts())
    assert left == ["checkpoints/000000.1", "staging/000001.1"]
    assert delete_orphans(store, STUDY.name, files) == 0


def test_a_trial_that_another_worker_begins_meanwhile_keeps_its_directory(store: Store, tmp_path: Path) -> None:
    class Busy(StudyFiles):
        def attempts(self) -> list[AttemptDirectory]:
            with closing(SqliteStore(tmp_path / "broodline.db")) as other:
                begin_trial(other, self)
            return super().attempts()

    files = Busy(tmp_path / "files")
    files.prepare()
    assert delete_orphans(store, STUDY.name, files) == 0
    assert (files.staging / "000000.1" / "weights").exists()


def test_a_recorded_checkpoint_whose_rename_power_undid_gets_its_place(store: Store, tmp_path: Path) -> None:
    files = files_in(tmp_path)
    complete(store, files, begin_trial(store, files))
    (files.checkpoints / "000000.1").rename(files.staging / "000000.1")
    assert delete_orphans(store, STUDY.name, files) == 0
    assert (files.verified("checkpoints/000000.1") / "weights").read_text() == "1"
    assert list(files.staging.iterdir()) == []
