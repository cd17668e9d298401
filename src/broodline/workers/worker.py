"""The loop of a worker: ask, restore, train, save, complete (and ask for the next with the same call)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from broodline.controller.client import Answer, Client, Done, Signal, Start, Wait, WorkerSession
from broodline.core.trial import Measurement, Trial
from broodline.errors import (
    CheckpointError,
    CheckpointUnavailable,
    LeaseLost,
    Preempted,
    Stopped,
    StoreUnavailable,
    TrialFailed,
)
from broodline.storage.disk import is_disk_full
from broodline.storage.study_files import StudyFiles
from broodline.workers.trainers.base import Assignment, Trainer

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0
REPORT_SECONDS = 1.0
_ROOM = 1 << 20  # a disk with less than this many bytes free counts as full


@dataclass(kw_only=True)
class Worker:
    """Trains the trials of one study until there are none.

    Args:
        client: The controller.
        study: The study's name.
        asker: Who this worker is.
        files: Where checkpoints and logs are.
        trainer: Trains one trial.
        devices: What this worker may use; told to the program.
        say: Is told, in one line, what keeps the worker waiting, and when it goes on.
    """

    client: Client
    study: str
    identity: WorkerSession
    files: StudyFiles
    trainer: Trainer
    devices: tuple[str, ...] = ()
    say: Callable[[str], None] = print
    _leaving: bool = field(default=False, init=False)
    _interruptible: bool = field(default=False, init=False)

    def run(self) -> str:
        """Works until the study is done, or until `leave` is called; returns why it ended."""
        answer = self._insist(lambda: self.client.ask(self.study, self.identity))
        wait = FIRST_WAIT
        while not self._leaving and not isinstance(answer, Done):
            self._remove(answer.delete)
            if isinstance(answer, Wait):
                answer, wait = self._ask_later(wait), min(2 * wait, LONGEST_WAIT)
            else:
                answer, wait = self._work(answer), FIRST_WAIT
        self._remove(answer.delete)
        if not isinstance(answer, Done):
            self._insist(lambda: self.client.release(self.study, [self.identity.session]))
            return "told to leave"
        return answer.reason

    def leave(self) -> None:
        """Makes the worker go as soon as it can: its trial is given back."""
        self._leaving = True

    @property
    def leaving(self) -> bool:
        """True once it was told to leave."""
        return self._leaving

    def interrupt(self) -> None:
        """The same, from a signal handler of the thread that works: training is interrupted."""
        already = self._leaving
        self.leave()
        if self._interruptible and not already:
            raise Preempted

    def _ask_later(self, seconds: float) -> Answer:
        try:
            with self._can_be_interrupted():
                self.client.wait(seconds * random.uniform(0.5, 1.0))
        except Preempted:
            return Wait()
        return self._insist(lambda: self.client.ask(self.study, self.identity))

    def _work(self, start: Start) -> Answer:
        """Trains a trial to its end, whichever it is, and returns the answer to the next ask."""
        trial = start.trial
        reports = _Reports(client=self.client, study=self.study, trial=trial)
        try:
            restore = self._verified(start)
            if restore is None and trial.parent is not None:
                parent = trial.parent
                return self._insist(lambda: self.client.damaged(self.study, trial.number, trial.attempt, parent, self.identity))
            return self._insist(self._trained(trial, restore, reports))
        except TrialFailed as failed:
            return self._insist(self._failure(trial, reports, failed))
        except LeaseLost as lost:
            self.say(str(lost))
            self.files.checkpoints.discard_attempt(trial)
        except Preempted:
            self._insist(lambda: self.client.release(self.study, [self.identity.session]))
            if self._leaving:
                return Wait()
        finally:
            self.files.checkpoints.discard(trial)
        return self._insist(lambda: self.client.ask(self.study, self.identity))

    def _verified(self, start: Start) -> Path | None:
        """The parent's checkpoint, found whole; None without a parent, or if the checkpoint is missing or damaged.

        Raises:
            TrialFailed: It can't be read here: to give it up for that would lose what may be whole.
        """
        try:
            return None if start.restore is None else self.files.checkpoints.open(start.restore)
        except CheckpointError as error:
            self.say(f"trial {start.trial.number}: {error}; it starts from another trial")
            return None
        except CheckpointUnavailable as error:
            raise TrialFailed(f"the checkpoint of trial {start.trial.parent} can't be read: {error}") from error

    def _trained(self, trial: Trial, restore: Path | None, reports: _Reports) -> Callable[[], Answer]:
        """Trains and saves; returns the call that tells the controller how it went."""
        study, identity = self.study, self.identity
        try:
            measurements, checkpoint = self._patiently(trial, restore, reports)
        except Stopped:
            return lambda: self.client.stop(study, trial.number, trial.attempt, reports.untold(), identity)
        except TrialFailed as failed:
            return self._failure(trial, reports, failed)
        rest = reports.untold_of(measurements)
        return lambda: self.client.complete(study, trial.number, trial.attempt, rest, checkpoint, identity)

    def _failure(self, trial: Trial, reports: _Reports, failed: TrialFailed) -> Callable[[], Answer]:
        reason, output, untold = failed.reason, failed.output, reports.untold()
        return lambda: self.client.fail(self.study, trial.number, trial.attempt, untold, reason, output, self.identity)

    def _patiently(self, trial: Trial, restore: Path | None, reports: _Reports) -> tuple[list[Measurement], str]:
        """Trains and saves, again and again while the disk is full: that is no fault of the trial."""
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
            reports.again()

    def _train_and_save(self, trial: Trial, restore: Path | None, reports: _Reports) -> tuple[list[Measurement], str]:
        try:
            assignment = Assignment(
                trial=trial,
                restore=restore,
                save=self.files.checkpoints.begin(trial),
                log=self.files.log(trial),
                worker=self.identity.worker,
                devices=self.devices,
                report=reports.add,
            )
            with self._can_be_interrupted():
                measurements = self.trainer.train(assignment)
            return measurements, self.files.checkpoints.commit(trial)
        except CheckpointError as error:
            raise TrialFailed(str(error)) from error

    def _wait_for_room(self, trial: Trial) -> None:
        before, seconds = self._free(), FIRST_WAIT
        self.say(f"{self.files.root}: the disk is full; trial {trial.number} is trained again when there is room")
        with self._can_be_interrupted():
            while self._free() < max(before + 1, _ROOM) and seconds < 30:
                time.sleep(seconds)
                seconds *= 1.5
        self.say(f"trying trial {trial.number} again")

    def _insist(self, call: Callable[[], T]) -> T:
        """Makes a call until the store answers."""
        seconds, told = FIRST_WAIT, False
        while True:
            try:
                result = call()
                if told:
                    self.say("the store answers again")
                return result
            except StoreUnavailable as error:
                if not told:
                    self.say(f"the store does not answer ({error}); waiting")
                told = True
            time.sleep(seconds * random.uniform(0.5, 1.0))
            seconds = min(2 * seconds, 5 * LONGEST_WAIT)

    def _free(self) -> int:
        return self.files.checkpoints.free_space()

    def _remove(self, checkpoints: Sequence[str]) -> None:
        for checkpoint in checkpoints:
            self.files.checkpoints.remove(checkpoint)

    @contextmanager
    def _can_be_interrupted(self) -> Iterator[None]:
        """While training or waiting `leave` may raise; while telling the controller it may not."""
        self._interruptible = True
        try:
            if self._leaving:
                raise Preempted
            yield
        finally:
            self._interruptible = False


@dataclass(kw_only=True)
class _Reports:
    """What a running trial measured, told to the controller at most once a second: reporting must be cheap."""

    client: Client
    study: str
    trial: Trial
    _measurements: list[Measurement] = field(default_factory=list)
    _told: int = 0
    _at: float = field(default_factory=time.monotonic)

    def add(self, measurement: Measurement) -> None:
        """Takes a measurement; raises Stopped or Preempted where the trial is to end."""
        self._measurements.append(measurement)
        if time.monotonic() - self._at >= REPORT_SECONDS:
            self._tell()

    def untold(self) -> list[Measurement]:
        """What the controller has not heard yet."""
        return self._measurements[self._told :]

    def untold_of(self, final: Sequence[Measurement]) -> list[Measurement]:
        """The same, of a trainer's final list, which begins with what was reported."""
        return list(final[self._told :])

    def again(self) -> None:
        """Forgets what was measured and told, because the trial begins again: all that it measures from now on is news."""
        self._measurements.clear()
        self._told = 0

    def _tell(self) -> None:
        self._at = time.monotonic()
        try:
            signal = self.client.report(self.study, self.trial.number, self.trial.attempt, self.untold())
        except StoreUnavailable:
            return  # the trial goes on; what it measured is told later
        self._told = len(self._measurements)
        if signal is Signal.STOP:
            raise Stopped(f"trial {self.trial.number} can't matter any more")
        if signal is Signal.RELEASE:
            raise Preempted
