"""The loop of a worker: ask, restore, train, save, complete; completing a trial also asks for the next one.

Theory of operation. The controller decides, the worker acts. Each call of the client is one transaction and may be made
again without a second effect, so the worker makes it until the store answers. A trial ends in one of five ways:

====================  ============================================================  ==================
it ended by           the worker calls                                              its directory
====================  ============================================================  ==================
training to its end   `complete`, after the checkpoint is committed                 committed
a failed program      `fail`                                                        discarded
an early stop         `stop`                                                        discarded
a request to leave    `release`: the trial is pending again                         discarded
a lost lease          nothing: another attempt has the trial, and ours is refused   discarded, all of it
====================  ============================================================  ==================

Between two trials the worker holds nothing. A worker that is killed at any instruction leaves a lease that runs out and a
staging directory that the next run deletes.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from broodline.controller.client import Answer, Client, Done, Start, Wait, WorkerSession
from broodline.errors import LeaseLost, Preempted, Stopped, TrialFailed, WorkerError
from broodline.storage.study_files import StudyFiles
from broodline.workers.interruption import Interruption
from broodline.workers.log import WorkerLog
from broodline.workers.reporting import BatchedReports
from broodline.workers.retrying import growing, until_answered
from broodline.workers.trainers.base import Trainer
from broodline.workers.training import Training

T = TypeVar("T")


@dataclass(kw_only=True)
class Worker:
    """Trains the trials of one study until there are none.

    Args:
        client: The controller.
        study: The study's name.
        identity: The worker's name and session.
        files: The study's checkpoints and logs.
        trainer: Trains one trial.
        devices: The devices that this worker may use; its programs are given them.
    """

    client: Client
    study: str
    identity: WorkerSession
    files: StudyFiles
    trainer: Trainer
    devices: tuple[str, ...] = ()
    log: WorkerLog = field(init=False)
    done: bool = field(default=False, init=False)  # the controller has no more trials
    _interruption: Interruption = field(default_factory=Interruption, init=False)
    _training: Training = field(init=False)

    def __post_init__(self) -> None:
        self.log = WorkerLog(logging.getLogger(__name__), study=self.study, worker=self.identity.worker)
        self._training = Training(
            files=self.files,
            trainer=self.trainer,
            worker=self.identity.worker,
            devices=self.devices,
            interruption=self._interruption,
            log=self.log,
        )

    def run(self) -> str:
        """Works until the study is done or the worker is asked to leave; returns the reason."""
        answer, waits = self._ask(), growing()
        while not self.leaving and not isinstance(answer, Done):
            self._remove(answer.delete)
            if isinstance(answer, Wait):
                # The pauses grow while there is nothing to do, and start short again after each trial.
                answer = self._ask_later(next(waits))
            else:
                answer, waits = self._work(answer), growing()
        self._remove(answer.delete)
        # The last answer may be a trial that was not started: releasing it spares others the wait for its lease.
        if not isinstance(answer, Done):
            self._release()
            return "asked to leave"
        self.done = True
        return answer.reason

    def leave(self) -> None:
        """Makes the worker leave as soon as it can, with its trial given back; for another thread."""
        self._interruption.request()
        self.client.wake()

    @property
    def leaving(self) -> bool:
        """True once the worker was asked to leave."""
        return self._interruption.requested

    def interrupt(self) -> None:
        """Makes the worker leave now; for a signal handler of the thread that works. Training is interrupted."""
        self._interruption.interrupt()

    def _ask(self) -> Answer:
        return self._insist(lambda: self.client.ask(self.study, self.identity))

    def _ask_later(self, seconds: float) -> Answer:
        try:
            with self._interruption.allowed():
                # By chance, so that workers which wait for the same trial do not all ask in the same moment.
                self.client.wait(seconds * random.uniform(0.5, 1.0))
        except Preempted:
            return Wait()
        return self._ask()

    def _work(self, start: Start) -> Answer:
        """Trains a trial until it ends, in whichever way, and returns the answer to the next ask."""
        trial = start.trial
        reports = BatchedReports(client=self.client, study=self.study, trial=trial)
        try:
            outcome = self._outcome(start, reports)
            self._insist(reports.finish)
            return self._insist(outcome)
        except LeaseLost as lost:
            self.log.warning(str(lost), extra={"trial": trial.number})
            # The trial belongs to a later attempt. No record will name what this one saved, committed or not.
            if self.files.are_present:
                self.files.checkpoints.discard_attempt(trial)
        except WorkerError:  # another worker would fare no better, and the trial can wait
            self._release()
            raise
        except Preempted:
            self._release()
            if self.leaving:
                return Wait()
        finally:
            # After a commit nothing is staged, and this does nothing.
            if self.files.are_present:
                self.files.checkpoints.discard(trial)
        return self._ask()

    def _outcome(self, start: Start, reports: BatchedReports) -> Callable[[], Answer]:
        """Trains and saves; returns the call that reports the outcome to the controller."""
        trial, study, identity = start.trial, self.study, self.identity
        try:
            restore = self._training.restored(start)
            if restore is None and trial.parent is not None:
                parent = trial.parent
                return lambda: self.client.damaged(study, trial.number, trial.attempt, parent, identity)
            trained = self._training.run(trial, restore, reports)
        except Stopped:
            return lambda: self.client.stop(study, trial.number, trial.attempt, reports.unsent(), identity)
        except TrialFailed as failed:
            reason, output, unsent = failed.reason, failed.output, reports.unsent()
            return lambda: self.client.fail(study, trial.number, trial.attempt, unsent, reason, output, identity)
        # The checkpoint is committed before this call is made: a record never names a checkpoint that is not there.
        rest, saved, alike = reports.unsent_of(trained.measurements), trained.checkpoint, trained.likeness
        return lambda: self.client.complete(study, trial.number, trial.attempt, rest, saved, identity, alike)

    def _release(self) -> None:
        self._insist(lambda: self.client.release(self.study, [self.identity.session]))

    def _insist(self, call: Callable[[], T]) -> T:
        return until_answered(call, self.log)

    def _remove(self, checkpoints: Sequence[str]) -> None:
        if not checkpoints or not self.files.are_present:  # orphans are deleted at the end of the run, or by the next one
            return
        for checkpoint in checkpoints:
            self.files.checkpoints.remove(checkpoint)
