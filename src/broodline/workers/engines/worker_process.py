"""A worker process: makes the worker that a job describes, and works until the study is done or its engine is gone.

Theory of operation: the end. The lock of the session shows other processes that this one lives, and its file shows a later run
whose programs to look for. So the file is removed last: after the exit handlers, and after the processes have ended that the
function left behind. A worker that is killed before that leaves the file, and the next run cleans up.
"""

from __future__ import annotations

import atexit
import logging
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from broodline.controller.access import client_of
from broodline.core.trial import Measurement
from broodline.errors import BroodlineError
from broodline.storage.disk import is_disk_full
from broodline.storage.location import StudyLocation
from broodline.storage.study_files import StudyFiles
from broodline.workers.engines.base import CANNOT_WORK
from broodline.workers.engines.launcher import Job, WorkerSpec
from broodline.workers.engines.messages import Channel, Event, ForwardedRecords
from broodline.workers.engines.process_end import end_in_time
from broodline.workers.liveness import alive
from broodline.workers.log import WorkerLog
from broodline.workers.own_module import wait_for_end_of
from broodline.workers.retrying import pauses, until_answered
from broodline.workers.signals import keep_exit_statuses
from broodline.workers.trainers.base import Assignment, Trainer
from broodline.workers.trainers.process_tree import kill_all_of
from broodline.workers.worker import Worker

_log = logging.getLogger(__name__)
_LEAVE_SECONDS = 10  # for giving the trial back, once the engine is gone


def main() -> None:
    """Runs in the worker process of the local engine.

    The job and the worker's spec come as a pickle over standard input, which stays open for as long as the engine lives.
    """
    keep_exit_statuses()
    engine = os.getppid()
    life = ExitStack()
    atexit.register(life.close)  # the handler that was registered first is called last
    size = int.from_bytes(os.read(0, 8), "big")
    with os.fdopen(os.dup(0), "rb") as pipe:
        job, spec = pickle.loads(pipe.read(size))
    threading.Thread(target=_leave_with_engine, args=(engine,), daemon=True).start()
    status = serve(job, spec, Channel(), life)
    end_in_time(status, last=life.close, warn=logging.getLogger(__name__).warning)
    sys.exit(status)


def serve(job: Job, spec: WorkerSpec, channel: Channel, life: ExitStack) -> int:
    """Works until the study is done; returns the exit status. For the main thread of a process of its own.

    Args:
        job: The work.
        spec: The worker.
        channel: The way to the engine.
        life: Holds the session's lock; the caller closes it as the last act of the process.
    """
    os.environ.update(spec.variables)  # before the trainer, and with it a framework, is loaded
    logger = logging.getLogger("broodline")
    logger.addHandler(ForwardedRecords(channel))
    logger.setLevel(logging.INFO)
    try:
        worker = worker_for(job, spec, lambda: channel.send(Event.AT_WORK))
        _interrupt_on_sigterm(worker)
        channel.send(Event.READY)
        work(worker, life)
        channel.send(Event.FINISHED, done=worker.done)
    except Exception as error:
        known = isinstance(error, BroodlineError)
        channel.send(Event.CANNOT_WORK, problem=str(error) if known else "".join(traceback.format_exception(error)))
        return CANNOT_WORK
    return 0


def worker_for(job: Job, spec: WorkerSpec, announce: Callable[[], None] = lambda: None) -> Worker:
    """Makes the worker that a job describes.

    Args:
        job: The job.
        spec: The worker's name, session and devices.
        announce: Called when the first trial begins.
    """
    location = StudyLocation(url=job.store, files=None if job.files is None else Path(job.files))
    files = _present_files(location, job, spec)
    trainer: Trainer = pickle.loads(job.trainer)(cwd=Path.cwd())
    return Worker(
        client=client_of(location.open(create=False)),
        study=job.study,
        identity=spec.identity,
        files=files,
        trainer=_AnnouncingTrainer(trainer, announce),
        devices=spec.devices,
    )


def _present_files(location: StudyLocation, job: Job, spec: WorkerSpec) -> StudyFiles:
    """The files of the study, as soon as their directory is there: it may be away for a while."""
    log = WorkerLog(_log, study=job.study, worker=spec.identity.worker)

    def find() -> StudyFiles:
        return location.files_of(job.study, checksums=job.checksums)

    logged, wait = False, pauses()
    while not (files := until_answered(find, log)).are_present:
        if not logged:
            fields = {"study": job.study, "worker": None, "trial": None}
            _log.warning(f"{files.marked}: the directory of the store's files is away; work waits for it", extra=fields)
            logged = True
        wait()
    return files


def work(worker: Worker, life: ExitStack) -> None:
    """Works until the study is done.

    Args:
        worker: The worker.
        life: Gets the lock that shows this worker to be alive. When it is closed, the processes that the worker left are ended
            first, and then the lock is released.
    """
    _take_lock(worker, life)
    life.callback(kill_all_of, worker.identity.session)
    worker.run()
    worker.trainer.close()
    worker.files.checkpoints.close()


def _take_lock(worker: Worker, life: ExitStack) -> None:
    """Takes the session's lock; waits for room on a full disk, where its file can't be made."""
    wait = pauses()
    logged = False
    while not worker.leaving:
        try:
            life.enter_context(alive(worker.files.workers, worker.identity.session))
            return
        except OSError as error:
            if not is_disk_full(error):
                raise
        if not logged:
            worker.log.warning(f"{worker.files.workers}: the disk is full; work begins when there is room")
            logged = True
        wait()


class _AnnouncingTrainer:
    """A trainer that announces its first trial: its worker works.

    Args:
        trainer: Trains.
        announce: Announces.
    """

    def __init__(self, trainer: Trainer, announce: Callable[[], None]) -> None:
        self._trainer, self._announce, self._at_work = trainer, announce, False
        self.close = trainer.close

    def train(self, assignment: Assignment) -> list[Measurement]:
        if not self._at_work:
            self._at_work = True
            self._announce()
        return self._trainer.train(assignment)


def _interrupt_on_sigterm(worker: Worker) -> None:
    """Makes the worker leave on SIGTERM, and the processes that its function forks end, as those of a plain script do.

    `multiprocessing.Pool` ends its processes by SIGTERM. With the worker's handler they would raise an error in the midst of
    anything, with a lock of the pool in their hands.
    """
    signal.signal(signal.SIGTERM, lambda *_: worker.interrupt())
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def _leave_with_engine(engine: int) -> None:
    """Ends this process when its engine is gone, which closes the pipe; gently first."""
    wait_for_end_of(engine)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_LEAVE_SECONDS)
    os._exit(1)
