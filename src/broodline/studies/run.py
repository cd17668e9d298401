"""Runs a study on this machine: wires store, controller and engine, for the command line and for Python alike."""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from types import FrameType
from typing import TextIO

from broodline.config.programs import EngineOptions
from broodline.controller.controller import Controller
from broodline.core.population import StudyState
from broodline.core.study import StudyConfig
from broodline.errors import StoreError, StoreUnavailable, StudyBusy, StudyFailed, UsageError
from broodline.reports.observer import Observation, Observer, ViewOf, observing
from broodline.storage.base import Store
from broodline.storage.checkpoints.local import StudyFiles
from broodline.storage.location import StudyLocation
from broodline.studies.recovery import put_in_order, sweep_orphans
from broodline.workers.engines.local import LocalEngine
from broodline.workers.engines.worker_process import Job
from broodline.workers.trainers.base import Trainer

ATTEND_SECONDS = 0.1
LOOK_SECONDS = 0.5
GRACE_SECONDS = 10.0


def run(
    study: StudyConfig,
    *,
    location: StudyLocation,
    make_trainer: Callable[[], Trainer],
    workers: int,
    options: EngineOptions,
    view_of: ViewOf,
    observers: Sequence[Observer] = (),
    grace: float = GRACE_SECONDS,
    begin: Callable[[Store, StudyFiles], None] | None = None,
) -> None:
    """Creates a study or goes on with it, and returns when it is done.

    Args:
        study: The study.
        place: Where it lives.
        make_trainer: Makes, in each worker, what trains.
        workers: W, how many there are.
        options: How they run.
        view_of: Makes the view that shows the run to people.
        observers: Follow the run too; all of them see each trial that finishes during the run.
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
    job = job_for(study, location, make_trainer)
    with closing(location.open()) as store, _sole_run(files, study.name), interruptible():
        controller = Controller(store)
        controller.open(study)
        files.prepare()
        if begin is not None:
            begin(store, files)
        put_in_order(store, study.name, files)
        view = view_of(store)
        with observing(store, study.name, [view, *observers]) as observation:
            engine = LocalEngine(
                job=job,
                client=controller,
                devices=options.devices,
                threads=options.threads,
                lease=study.limits.lease,
                say=view.say,
            )
            attend(engine, workers, observation=observation, grace=grace, called_back=calls_back(store, study.name))
        sweep_orphans(store, study.name, files)  # of attempts that were lost meanwhile
        raise_if_failed(store, study.name)


def attend(engine: LocalEngine, workers: int, *, observation: Observation, grace: float, called_back: Callable[[], bool]) -> None:
    """Runs workers until all have ended, or are called back."""
    try:
        engine.start(workers)
        while engine.alive() and not called_back():
            engine.attend(ATTEND_SECONDS)
            observation.refresh()
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


def job_for(study: StudyConfig, location: StudyLocation, make_trainer: Callable[[], Trainer]) -> Job:
    """What worker processes of this study need to know."""
    return Job(
        store=location.url,
        study=study.name,
        files=location.files(study.name).root,
        trainer=_pickled(make_trainer),
        checksums=study.checkpoints.checksums,
    )


def _pickled(make_trainer: Callable[[], Trainer]) -> bytes:
    import cloudpickle

    try:
        pickled: bytes = cloudpickle.dumps(make_trainer, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise UsageError(
            f"the function can't be sent to worker processes: {error}; "
            "what can't be copied (a lock, an open file, a connection) is to be made inside of it"
        ) from error
    return pickled


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
