"""A worker process of the local engine: reads its job from its parent, and works until it is done or its parent is gone."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from broodline.controller.client import WorkerSession
from broodline.controller.controller import Controller
from broodline.core.trial import Measurement
from broodline.errors import BroodlineError
from broodline.storage.disk import is_disk_full
from broodline.storage.location import files_in, open_store
from broodline.workers.liveness import alive
from broodline.workers.trainers.base import Assignment, Trainer
from broodline.workers.worker import FIRST_WAIT, LONGEST_WAIT, Worker

CANNOT_WORK = 70  # EX_SOFTWARE of sysexits.h: an error of ours, not of a trial; another worker would not fare better
READY = "broodline: ready"
AT_WORK = "broodline: at work"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker process needs to know.

    Args:
        store: The store's URL.
        study: The study's name.
        files: The directory of the study's checkpoints and logs.
        trainer: Makes the trainer, pickled (a function from `__main__` or a notebook travels by value).
        checksums: Whether checkpoints carry checksums.
    """

    store: str
    study: str
    files: Path
    trainer: bytes
    checksums: bool = False


def main() -> None:
    """Runs in the worker process; the job, and who it is, come as a pickle from its parent, down a pipe that stays open."""
    size = int.from_bytes(os.read(0, 8), "big")
    with os.fdopen(os.dup(0), "rb") as pipe:
        path, job, identity, devices = pickle.loads(pipe.read(size))
    sys.path[:] = path
    say = _voice()
    try:
        worker = worker_for(job, identity, devices, say)
        signal.signal(signal.SIGTERM, lambda *_: worker.interrupt())
        threading.Thread(target=_leave_with_parent, daemon=True).start()
        say(READY)
        work(worker)
    except Exception as error:
        say(str(error) if isinstance(error, BroodlineError) else "".join(traceback.format_exception(error)))
        sys.exit(CANNOT_WORK)


def worker_for(job: Job, identity: WorkerSession, devices: tuple[str, ...], say: Callable[[str], None] = print) -> Worker:
    """Makes the worker that a job describes."""
    store = open_store(job.store, create=False)
    files = files_in(job.files, checksums=job.checksums)
    make: Callable[[], Trainer] = pickle.loads(job.trainer)
    trainer = _Announcing(make(), say)
    return Worker(
        client=Controller(store), study=job.study, identity=identity, files=files, trainer=trainer, devices=devices, say=say
    )


def work(worker: Worker) -> None:
    """Works until the study is done, known to be alive meanwhile."""
    with ExitStack() as life:
        seconds = FIRST_WAIT
        while not worker.leaving:
            try:
                life.enter_context(alive(worker.files.workers, worker.identity.session))
                break
            except OSError as error:
                if not is_disk_full(error):
                    raise
            if seconds == FIRST_WAIT:
                worker.say(f"{worker.files.workers}: the disk is full; work begins when there is room")
            time.sleep(seconds)
            seconds = min(2 * seconds, LONGEST_WAIT)
        worker.run()
    worker.trainer.close()


class _Announcing:
    """A trainer that tells the engine of its first trial: its worker works.

    Args:
        trainer: Trains.
        say: Tells.
    """

    def __init__(self, trainer: Trainer, say: Callable[[str], None]) -> None:
        self._trainer, self._say, self._at_work = trainer, say, False
        self.close = trainer.close

    def train(self, assignment: Assignment) -> list[Measurement]:
        if not self._at_work:
            self._at_work = True
            self._say(AT_WORK)
        return self._trainer.train(assignment)


def _voice() -> Callable[[str], None]:
    """What tells the engine something, whatever a function does to its standard output."""
    out = os.dup(1)

    def say(line: str) -> None:
        told = f"{line}\n".encode(errors="replace")
        with suppress(BrokenPipeError):  # the engine is gone, and this process is about to be
            while told:
                told = told[os.write(out, told) :]

    return say


def _leave_with_parent() -> None:
    """Ends this process when its parent is gone, which closes the pipe; gently first."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(10)
    os._exit(1)
