"""A worker process of the local engine: reads its job from its parent, and works until it is done or its parent is gone."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from broodline.checkpoints import StudyFiles
from broodline.client import Asker
from broodline.controller import Controller
from broodline.errors import BroodlineError
from broodline.lifelines import alive
from broodline.stores import open_store
from broodline.trainers import Trainer
from broodline.worker import Worker

CANNOT_WORK = 70  # EX_SOFTWARE of sysexits.h: an error of ours, not of a trial; another worker would not fare better
READY = "broodline: ready"


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
        path, job, asker, devices = pickle.loads(pipe.read(size))
    sys.path[:] = path
    try:
        worker = worker_for(job, asker, devices)
        signal.signal(signal.SIGTERM, lambda *_: worker.interrupt())
        threading.Thread(target=_leave_with_parent, daemon=True).start()
        work(worker, ready=lambda: print(READY, flush=True))
    except Exception as error:
        _give_up(error)


def work(worker: Worker, *, ready: Callable[[], None] = lambda: None) -> None:
    """Works until the study is done, known to be alive meanwhile.

    Args:
        worker: Who works.
        ready: Called once the worker has all that it needs.
    """
    with alive(worker.files.workers, worker.asker.session):
        ready()
        worker.run()
    worker.trainer.close()


def _give_up(error: Exception) -> NoReturn:
    told = str(error) if isinstance(error, BroodlineError) else "".join(traceback.format_exception(error))
    print(told, flush=True)
    sys.exit(CANNOT_WORK)


def worker_for(job: Job, asker: Asker, devices: tuple[str, ...]) -> Worker:
    """Makes the worker that a job describes."""
    store = open_store(job.store, create=False)
    files = StudyFiles(job.files, checksums=job.checksums)
    make: Callable[[], Trainer] = pickle.loads(job.trainer)
    return Worker(
        client=Controller(store),
        study=job.study,
        asker=asker,
        files=files,
        trainer=make(),
        devices=devices,
        say=lambda line: print(line, flush=True),
    )


def _leave_with_parent() -> None:
    """Ends this process when its parent is gone, which closes the pipe; gently first."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(10)
    os._exit(1)
