"""Runs a study on this machine: wires store, controller and engine, for the command line and for Python alike."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from types import FrameType
from typing import Protocol, TextIO

from broodline.config.programs import EngineOptions
from broodline.controller.controller import Controller
from broodline.core.population import StudyState
from broodline.core.study import StudyConfig
from broodline.errors import StoreError, StoreUnavailable, StudyBusy, StudyFailed
from broodline.reports.terminal.log_lines import log_shown_by
from broodline.storage.base import Store
from broodline.storage.checkpoints.local import StudyFiles
from broodline.storage.location import StudyLocation
from broodline.studies.engine import engine_for, job_for
from broodline.studies.recovery import put_in_order, sweep_orphans
from broodline.workers.engines.base import Engine
from broodline.workers.trainers.base import TrainerFactory

ATTEND_SECONDS = 0.1
LOOK_SECONDS = 0.5
GRACE_SECONDS = 10.0


class Watch(Protocol):
    """Shows people how a run goes."""

    def say(self, line: str) -> None:
        """Shows one line: a log record of the run or of a worker."""

    def refresh(self) -> None:
        """Shows how the study stands now, if it is time to; called several times a second."""


def run(
    study: StudyConfig,
    *,
    location: StudyLocation,
    trainer: TrainerFactory,
    workers: int,
    options: EngineOptions,
    watch_of: Callable[[Store], AbstractContextManager[Watch]],
    grace: float = GRACE_SECONDS,
    begin: Callable[[Store, StudyFiles], None] | None = None,
) -> None:
    """Creates a study or goes on with it, and returns when it is done.

    Args:
        study: The study.
        place: Where it lives.
        trainer: Makes, in each worker, the trainer.
        workers: W, how many there are.
        options: How they run.
        watch_of: Makes what shows people how it goes.
        grace: Seconds that workers are given to end.
        begin: What the study is to begin with, if it is new: called when it exists, before anything is trained.

    Raises:
        StoreError: Its place can't be used.
        StudyBusy: It is being run already.
        StudyChanged: It exists, and was defined otherwise.
        StudyFailed: Its program does not work.
        UsageError: The function can't be sent to workers.
        WorkerError: Workers can't start.
        KeyboardInterrupt: Ctrl-C or SIGTERM; running trials are pending again.
    """
    files = location.files(study.name, checksums=study.checkpoints.checksums)
    job = job_for(study, location, trainer)  # first: a function that can't be sent is refused before a study is created
    with closing(location.open()) as store, _sole_run(files, study.name), interruptible():
        controller = Controller(store)
        controller.open(study)
        files.prepare()
        if begin is not None:
            begin(store, files)
        put_in_order(store, study.name, files)
        with watch_of(store) as watch, log_shown_by(watch.say):
            engine = engine_for(study, job, cwd=trainer.cwd, client=controller, options=options)
            attend(engine, workers, watch=watch, grace=grace, called_back=calls_back(store, study.name))
        sweep_orphans(store, study.name, files)  # of attempts that were lost meanwhile
        raise_if_failed(store, study.name)


def attend(engine: Engine, workers: int, *, watch: Watch, grace: float, called_back: Callable[[], bool]) -> None:
    """Runs workers until all have ended, or are called back."""
    try:
        engine.start(workers)
        while engine.alive() and not called_back():
            engine.attend(ATTEND_SECONDS)
            watch.refresh()
    finally:
        engine.stop(grace)


def calls_back(store: Store, study: str) -> Callable[[], bool]:
    """Returns what tells whether a study calls its running trials back; it looks once in `LOOK_SECONDS`.

    A program that reports nothing while it trains would not hear of it otherwise.
    """
    looked = time.monotonic()

    def called_back() -> bool:
        nonlocal looked
        if time.monotonic() < looked + LOOK_SECONDS:
            return False
        looked = time.monotonic()
        try:
            with store.snapshot(study) as records:
                return records.progress().state in (StudyState.STOPPED, StudyState.FAILED)
        except StoreUnavailable:
            return False

    return called_back


def raise_if_failed(store: Store, study: str) -> None:
    """Raises StudyFailed if the study has."""
    with store.snapshot(study) as transaction:
        progress = transaction.progress()
    if progress.state is StudyState.FAILED:
        raise StudyFailed(f"study '{study}' failed: {progress.reason}")


@contextmanager
def interruptible() -> Iterator[None]:
    """Makes SIGTERM end a run as Ctrl-C does; only the main thread of a process can."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _sole_run(files: StudyFiles, name: str) -> Iterator[None]:
    """Holds the study for this process; a lock on an open file goes with its process, however that ends."""
    with _lock_file(files) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StudyBusy(
                f"study '{name}' is being run already (by process {file.read().strip() or 'unknown'}); "
                "`broodline worker` adds workers to it, `broodline stop` ends it"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock_file(files: StudyFiles) -> TextIO:
    try:
        files.root.mkdir(parents=True, exist_ok=True)
        return (files.root / "run.lock").open("a+")
    except OSError as error:
        problem = f"can't be written: {error.strerror}; name a store elsewhere with --store sqlite:///PATH"
        raise StoreError(f"{files.root}: {problem}") from error
