"""Recovery: orphans on the disk are deleted, and the directories of running attempts stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broodline.controller.client import Start, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.trial import Measurement, Trial
from broodline.storage.base import Store
from broodline.storage.checkpoints.base import AttemptDirectory, CheckpointStore
from broodline.storage.checkpoints.local import LocalCheckpointStore
from broodline.storage.sqlite.store import SqliteStore
from broodline.storage.study_files import StudyFiles
from broodline.studies.recovery import delete_orphans
from broodline.testing import study_from_tables

SESSION = WorkerSession(worker="0", session="a")
STUDY = study_from_tables(population=2)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(SqliteStore(tmp_path / "broodline.db")) as store:
        Controller(store).open(STUDY)
        yield store


@pytest.fixture
def checkpoints(tmp_path: Path) -> LocalCheckpointStore:
    checkpoints = LocalCheckpointStore(tmp_path / "files")
    checkpoints.prepare()
    return checkpoints


def begin_trial(store: Store, checkpoints: CheckpointStore) -> Trial:
    answer = Controller(store).ask(STUDY.name, SESSION)
    assert isinstance(answer, Start)
    (checkpoints.begin(answer.trial) / "weights").write_text("1")
    return answer.trial


def complete(store: Store, checkpoints: CheckpointStore, trial: Trial) -> None:
    last = [Measurement(step=trial.end, metrics={"score": 1.0})]
    Controller(store).complete(STUDY.name, trial.number, trial.attempt, last, checkpoints.commit(trial), SESSION)


def orphans_deleted(store: Store, checkpoints: LocalCheckpointStore) -> int:
    return delete_orphans(store, STUDY.name, StudyFiles(root=checkpoints.root, checkpoints=checkpoints))


def test_recorded_checkpoints_and_running_attempts_stay_and_orphans_are_deleted(
    store: Store, checkpoints: LocalCheckpointStore
) -> None:
    complete(store, checkpoints, begin_trial(store, checkpoints))
    running = begin_trial(store, checkpoints)
    (checkpoints.staging / "000001.7").mkdir()
    checkpoints.begin(running.evolve(number=99))
    (checkpoints.committed / "000000.8").mkdir()
    assert orphans_deleted(store, checkpoints) == 3
    left = sorted(each.path.relative_to(checkpoints.root).as_posix() for each in checkpoints.attempts())
    assert left == ["checkpoints/000000.1", "staging/000001.1"]
    assert orphans_deleted(store, checkpoints) == 0


def test_a_trial_that_another_worker_begins_during_recovery_keeps_its_directory(store: Store, tmp_path: Path) -> None:
    class Busy(LocalCheckpointStore):
        def attempts(self) -> list[AttemptDirectory]:
            with closing(SqliteStore(tmp_path / "broodline.db")) as other:
                begin_trial(other, self)
            return super().attempts()

    checkpoints = Busy(tmp_path / "files")
    checkpoints.prepare()
    assert orphans_deleted(store, checkpoints) == 0
    assert (checkpoints.staging / "000000.1" / "weights").exists()


def test_a_recorded_checkpoint_gets_its_name_back_after_a_power_failure_undid_the_rename(
    store: Store, checkpoints: LocalCheckpointStore
) -> None:
    complete(store, checkpoints, begin_trial(store, checkpoints))
    (checkpoints.committed / "000000.1").rename(checkpoints.staging / "000000.1")
    assert orphans_deleted(store, checkpoints) == 0
    assert (checkpoints.open("checkpoints/000000.1") / "weights").read_text() == "1"
    assert list(checkpoints.staging.iterdir()) == []
