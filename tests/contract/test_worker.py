"""The loop of a worker, with a real controller, store and disk, and a trainer under the test's control."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pytest
from living import wait_for

from broodline.controller.client import Signal, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.trial import Measurement, Trial, TrialState
from broodline.errors import CheckpointUnavailable, StoreUnavailable, TrialFailed
from broodline.storage.base import Store
from broodline.storage.checkpoints.local import LocalCheckpointStore
from broodline.storage.root import mark
from broodline.storage.sqlite.store import SqliteStore
from broodline.storage.study_files import StudyFiles
from broodline.testing import study_from_tables
from broodline.workers import reporting
from broodline.workers.engines.worker_process import work
from broodline.workers.trainers.base import Assignment
from broodline.workers.training import Training
from broodline.workers.worker import Worker

STUDY = study_from_tables(population=1, budget={"trials": 1})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(SqliteStore(tmp_path / "broodline.db")) as store:
        Controller(store).open(STUDY)
        yield store


@dataclass(kw_only=True)
class Reporting:
    """Has its last step as its score, and reports after each step.

    Args:
        before: Called before each report, with the number of the training, from 1, and the step.
    """

    before: Callable[[int, int], None]
    trainings: int = 0

    def train(self, assignment: Assignment) -> list[Measurement]:
        self.trainings += 1
        (assignment.save / "weights").write_text("1")
        steps = range(assignment.trial.start + 1, assignment.trial.end + 1)
        measurements = [Measurement(step=step, metrics={"score": float(step)}) for step in steps]
        for measurement in measurements:
            self.before(self.trainings, measurement.step)
            assignment.report(measurement)
        return measurements

    def close(self) -> None:
        """Does nothing."""


@dataclass(kw_only=True)
class Complaining:
    """Fails with the system's message for a full disk, a number of times, then saves.

    Args:
        complaints: The number.
    """

    complaints: int
    trainings: int = 0

    def train(self, assignment: Assignment) -> list[Measurement]:
        self.trainings += 1
        if self.trainings <= self.complaints:
            raise TrialFailed("exit status 1", f"echo: {os.strerror(errno.ENOSPC)}")
        (assignment.save / "weights").write_text("1")
        return [Measurement(step=assignment.trial.end, metrics={"score": 1.0})]

    def close(self) -> None:
        """Does nothing."""


class FullOnce(LocalCheckpointStore):
    """Checkpoints on a disk that is full at the first commit."""

    full = True

    def commit(self, trial: Trial) -> str:
        if self.full:
            self.full = False
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().commit(trial)


class UnreadableOnce(LocalCheckpointStore):
    """Checkpoints that can't be read at the first attempt."""

    unreadable = True

    def open(self, checkpoint: str) -> Path:
        if self.unreadable:
            self.unreadable = False
            raise CheckpointUnavailable(f"{checkpoint}: permission denied")
        return super().open(checkpoint)


def test_a_checkpoint_that_a_worker_may_not_read_is_not_given_up(store: Store, tmp_path: Path) -> None:
    study = study_from_tables(name="two", population=1, budget={"trials": 2})
    controller, identity = Controller(store), WorkerSession(worker="0", session="a")
    controller.open(study)
    checkpoints, trainer = UnreadableOnce(tmp_path / "files"), Reporting(before=lambda _training, _step: None)
    files = StudyFiles(root=checkpoints.root, checkpoints=checkpoints)
    files.prepare()
    Worker(client=controller, study=study.name, identity=identity, files=files, trainer=trainer).run()
    with store.snapshot(study.name) as records:
        parent, child = records.trials()
    assert (child.state, child.parent, child.damaged) == (TrialState.FAILED, 0, None)
    assert child.reason == "the checkpoint of trial 0 can't be read: checkpoints/000000.1: permission denied"
    assert parent.checkpoint is not None
    assert checkpoints.open(parent.checkpoint).is_dir()


@pytest.mark.parametrize("last_reported", [0, 1, 9, 10])
def test_a_trial_that_is_trained_again_for_want_of_room_is_as_fit_as_it_ended(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_reported: int
) -> None:
    def before(training: int, step: int) -> None:
        monkeypatch.setattr(reporting, "REPORT_SECONDS", 0.0 if training == 1 or step <= last_reported else math.inf)

    monkeypatch.setattr(Training, "_wait_for_room", lambda *_: None)
    checkpoints, trainer, identity = (
        FullOnce(tmp_path / "files"),
        Reporting(before=before),
        WorkerSession(worker="0", session="a"),
    )
    files = StudyFiles(root=checkpoints.root, checkpoints=checkpoints)
    files.prepare()
    Worker(client=Controller(store), study=STUDY.name, identity=identity, files=files, trainer=trainer).run()
    assert trainer.trainings == 2
    with store.snapshot(STUDY.name) as records:
        (trial,) = records.trials()
    assert (trial.steps, trial.fitness, trial.metrics) == (10, (10.0,), {"score": 10.0})


class LosingAnswers(Controller):
    """Loses the answer of every other report, after the report was saved or before it reached the store."""

    def __init__(self, store: Store, *, saved: bool) -> None:
        super().__init__(store)
        self._saved, self.lost = saved, 0
        self._lose = cycle([True, False])

    def report(self, study: str, number: int, attempt: int, measurements: Sequence[Measurement], index: int) -> Signal:
        lost = next(self._lose)
        self.lost += lost
        if lost and not self._saved:
            raise StoreUnavailable("lost on the way there")
        signal = super().report(study, number, attempt, measurements, index)
        if lost:
            raise StoreUnavailable("lost on the way back")
        return signal


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("last_reported", [3, 4, 10])
def test_measurements_are_saved_once_whichever_answers_are_lost(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: bool, last_reported: int
) -> None:
    def before(_training: int, step: int) -> None:
        monkeypatch.setattr(reporting, "REPORT_SECONDS", 0.0 if step <= last_reported else math.inf)

    checkpoints, client = LocalCheckpointStore(tmp_path / "files"), LosingAnswers(store, saved=saved)
    files = StudyFiles(root=checkpoints.root, checkpoints=checkpoints)
    files.prepare()
    identity = WorkerSession(worker="0", session="a")
    Worker(client=client, study=STUDY.name, identity=identity, files=files, trainer=Reporting(before=before)).run()
    assert client.lost > 1
    with store.snapshot(STUDY.name) as records:
        assert [measurement.step for measurement in records.measurements(0)] == list(range(1, 11))


@pytest.mark.parametrize(("complaints", "state"), [(1, TrialState.COMPLETED), (2, TrialState.FAILED)])
def test_a_program_that_met_a_full_disk_is_tried_once_more_even_if_there_is_room_by_now(
    complaints: int, state: TrialState, store: Store, tmp_path: Path
) -> None:
    checkpoints, trainer = LocalCheckpointStore(tmp_path / "files"), Complaining(complaints=complaints)
    files, identity = StudyFiles(root=checkpoints.root, checkpoints=checkpoints), WorkerSession(worker="0", session="a")
    files.prepare()
    Worker(client=Controller(store), study=STUDY.name, identity=identity, files=files, trainer=trainer).run()
    with store.snapshot(STUDY.name) as records:
        (trial,) = records.trials()
    assert (trial.state, trial.attempt, trainer.trainings) == (state, 1, 2)


def test_a_worker_whose_files_go_away_before_it_makes_its_session_file_waits_for_them(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark(tmp_path / "files", "an identity")
    checkpoints = LocalCheckpointStore(tmp_path / "files" / STUDY.name)
    files = StudyFiles(root=checkpoints.root, checkpoints=checkpoints, identity="an identity")
    files.prepare()
    trainer, identity = Complaining(complaints=0), WorkerSession(worker="0", session="a")
    worker = Worker(client=Controller(store), study=STUDY.name, identity=identity, files=files, trainer=trainer)
    (tmp_path / "files").rename(tmp_path / "away")
    (tmp_path / "files").mkdir()  # the mount point
    with ExitStack() as life, ThreadPoolExecutor(1) as thread:
        worked = thread.submit(work, worker, life)
        wait_for(lambda: worked.done() or "files is away; work waits for it" in caplog.text)
        assert list((tmp_path / "files").iterdir()) == []
        (tmp_path / "files").rmdir()
        (tmp_path / "away").rename(tmp_path / "files")
        worked.result()
    assert trainer.trainings == 1
