"""Trains one attempt at a trial and commits its checkpoint, again while the disk is full."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from broodline.controller.client import Start
from broodline.core.trial import Measurement, Trial
from broodline.core.untrained import Likeness
from broodline.errors import CheckpointError, CheckpointUnavailable, TrialFailed
from broodline.storage.disk import is_disk_full
from broodline.storage.study_files import StudyFiles
from broodline.workers.interruption import Interruption
from broodline.workers.likeness import likeness
from broodline.workers.log import WorkerLog
from broodline.workers.reporting import BatchedReports
from broodline.workers.retrying import FIRST_WAIT
from broodline.workers.trainers.base import Assignment, Trainer

_ROOM = 1 << 20  # a disk with less than this many bytes free counts as full
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

    def restored(self, start: Start) -> Path | None:
        """The verified checkpoint of the parent; None without a parent, or if the checkpoint is missing or corrupt.

        Raises:
            TrialFailed: It can't be read here. The checkpoint may be whole, so it is not given up.
        """
        try:
            return None if start.restore is None else self.files.checkpoints.open(start.restore)
        except CheckpointError as error:
            number = start.trial.number
            self.log.warning(f"trial {number}: {error}; it starts from another trial", extra={"trial": number})
            return None
        except CheckpointUnavailable as error:
            raise TrialFailed(f"the checkpoint of trial {start.trial.parent} can't be read: {error}") from error

    def run(self, trial: Trial, restore: Path | None, reports: BatchedReports) -> Trained:
        """Trains and saves.

        A full disk is no fault of the trial: it is trained again when there is room.

        Raises:
            TrialFailed: The program failed, or left no checkpoint.
            Stopped: The trial was stopped early.
            Preempted: The worker is to leave.
            LeaseLost: Another attempt has the trial.
        """
        while True:
            try:
                return self._train_and_save(trial, restore, reports)
            except (OSError, TrialFailed) as error:
                if not (is_disk_full(error) or self._free() < _ROOM):
                    if isinstance(error, TrialFailed):
                        raise
                    raise TrialFailed(f"{type(error).__name__}: {error}") from error
            self.files.checkpoints.discard(trial)
            self._wait_for_room(trial)
            reports.restart()

    def _train_and_save(self, trial: Trial, restore: Path | None, reports: BatchedReports) -> Trained:
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
