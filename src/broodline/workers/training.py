"""Trains one attempt at a trial and commits its checkpoint, again while the disk is full."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from broodline.controller.client import Start
from broodline.core.trial import Measurement, Trial
from broodline.core.untrained import Likeness
from broodline.errors import (
    CheckpointError,
    CheckpointMissing,
    CheckpointUnavailable,
    FilesMissing,
    TrialFailed,
    WorkerError,
)
from broodline.storage.disk import is_disk_full
from broodline.storage.study_files import StudyFiles
from broodline.workers.interruption import Interruption
from broodline.workers.likeness import likeness
from broodline.workers.log import WorkerLog
from broodline.workers.reporting import BatchedReports
from broodline.workers.retrying import FIRST_WAIT
from broodline.workers.trainers.base import Assignment, Trainer

_ROOM = 1 << 20  # a disk with less than this many bytes free counts as full
_FILES_LOOK = 0.25  # seconds between two looks for a directory that is away
_REMEDY = (
    "help: check the disk, and put back what is missing. To give up all checkpoints that are missing or corrupt:\n"
    "      broodline gc STUDY.toml --forget-missing"
)
_LONGEST_ROOM_WAIT = 30.0  # seconds; then the trial is tried again, even if the disk reports no room


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """An attempt that was trained to its end.

    Args:
        measurements: All of its measurements.
        checkpoint: The name of its committed checkpoint.
        likeness: How that resembles the parent's checkpoint; None: it does not, or there is none.
    """

    measurements: list[Measurement]
    checkpoint: str
    likeness: Likeness | None


@dataclass(kw_only=True)
class Training:
    """The way from an answer of the controller to a committed checkpoint.

    Args:
        files: The study's checkpoints and logs.
        trainer: Trains one trial.
        worker: The worker's name.
        devices: The devices that it may use.
        interruption: Knows whether the worker is to leave.
        log: The worker's log.
    """

    files: StudyFiles
    trainer: Trainer
    worker: str
    devices: tuple[str, ...]
    interruption: Interruption
    log: WorkerLog
    _given_up: int | None = field(default=None, init=False)  # the trial whose checkpoint this worker reported as corrupt

    def restored(self, start: Start) -> Path | None:
        """The verified checkpoint of the parent; None without a parent, or if its checkpoint was given up or is corrupt.

        Raises:
            TrialFailed: It can't be read here. The checkpoint may be whole, so it is not given up.
            WorkerError: It is missing, or is the second one that this worker finds corrupt.
            Preempted: The worker is to leave.
        """
        if start.restore is None:
            return None
        try:
            return self._opened(start.restore)
        except CheckpointError as error:
            self._give_up(start.trial, error)
            return None
        except CheckpointUnavailable as error:
            raise TrialFailed(f"the checkpoint of trial {start.trial.parent} can't be read: {error}") from error

    def _opened(self, checkpoint: str) -> Path:
        """Opens a checkpoint; waits while the directory of the store's files is away."""
        while True:
            present = self.files.are_present
            try:
                return self.files.checkpoints.open(checkpoint)
            except (CheckpointError, CheckpointUnavailable):
                if present and self.files.are_present:  # two looks: the directory can come back right after the failure
                    raise
            self._wait_for_files()

    def _give_up(self, trial: Trial, error: CheckpointError) -> None:
        """Logs that a checkpoint is corrupt, which the worker then reports.

        One worker gives up one checkpoint. A disk that fails, or a wrong directory, looks to it like many corrupt checkpoints.
        The bytes of a checkpoint that is missing may be whole on a disk that is away.
        """
        parent = trial.parent
        if isinstance(error, CheckpointMissing):
            raise WorkerError(f"trial {trial.number} starts from the checkpoint of trial {parent}: {error}\n{_REMEDY}") from error
        if self._given_up not in (None, parent):
            both = f"the checkpoints of trials {self._given_up} and {parent}"
            raise WorkerError(f"this worker found {both} corrupt: {error}\n{_REMEDY}") from error
        self._given_up = parent
        self.log.warning(f"trial {trial.number}: {error}; it starts from another trial", extra={"trial": trial.number})

    def run(self, trial: Trial, restore: Path | None, reports: BatchedReports) -> Trained:
        """Trains and saves.

        A full disk is no fault of the trial: it is trained again when there is room. Nor is a directory that is not mounted.

        Raises:
            TrialFailed: The program failed, or left no checkpoint.
            Stopped: The trial was stopped early.
            Preempted: The worker is to leave.
            LeaseLost: Another attempt has the trial.
        """
        while True:
            try:
                return self._train_and_save(trial, restore, reports)
            except (OSError, TrialFailed, FilesMissing) as error:
                if not self.files.are_present:
                    self._wait_for_files()
                    reports.restart()
                    continue
                if not (is_disk_full(error) or self._free() < _ROOM):
                    if isinstance(error, TrialFailed):
                        raise
                    raise TrialFailed(f"{type(error).__name__}: {error}") from error
            self.files.checkpoints.discard(trial)
            self._wait_for_room(trial)
            reports.restart()

    def _train_and_save(self, trial: Trial, restore: Path | None, reports: BatchedReports) -> Trained:
        self.files.check_present()
        try:
            assignment = Assignment(
                trial=trial,
                restore=restore,
                save=self.files.checkpoints.begin(trial),
                log=self.files.log(trial),
                worker=self.worker,
                devices=self.devices,
                report=reports.add,
            )
            with self.interruption.allowed():
                measurements = self.trainer.train(assignment)
            alike = None if restore is None else likeness(restore, assignment.save)
            return Trained(measurements=measurements, checkpoint=self.files.checkpoints.commit(trial), likeness=alike)
        except CheckpointError as error:
            raise TrialFailed(str(error)) from error

    def _wait_for_files(self) -> None:
        root = self.files.marked
        self.log.warning(f"{root}: the directory of the store's files is away, or another one is in its place; work waits for it")
        with self.interruption.allowed():
            while not self.files.are_present:
                time.sleep(_FILES_LOOK)
        self.log.info(f"{root}: the directory is back")

    def _wait_for_room(self, trial: Trial) -> None:
        before, seconds, fields = self._free(), FIRST_WAIT, {"trial": trial.number}
        self.log.warning(
            f"{self.files.root}: the disk is full; trial {trial.number} is trained again when there is room", extra=fields
        )
        with self.interruption.allowed():
            while self._free() < max(before + 1, _ROOM) and seconds < _LONGEST_ROOM_WAIT:
                time.sleep(seconds)
                seconds *= 1.5
        self.log.info(f"trying trial {trial.number} again", extra=fields)

    def _free(self) -> int:
        return self.files.checkpoints.free_space()
