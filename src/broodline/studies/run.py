"""Runs a study on this machine, for the command line and for Python alike: store, controller, engine and live view.

`run` creates the study or resumes it, and holds it for this process. `join` adds one worker to a study that another process
may be running.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cached_property
from typing import TypeVar

from broodline.config.study import study_from
from broodline.controller.controller import Controller, check_same
from broodline.core.population import StudyState
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial
from broodline.errors import StudyFailed, WorkerError
from broodline.reports.observer import Observer, View, observing
from broodline.reports.terminal.log_lines import log_shown_by
from broodline.storage.base import Store
from broodline.storage.location import StudyLocation
from broodline.storage.study_files import StudyFiles
from broodline.studies.engine import engine_for, job_for
from broodline.studies.interruption import interruptible
from broodline.studies.recovery import delete_orphans, recover
from broodline.studies.sole_run import sole_run
from broodline.studies.supervision import supervise
from broodline.studies.trainer import TrainerSetup
from broodline.workers.devices import devices_for, joining_note, sharing_note

T = TypeVar("T")

_log = logging.getLogger(__name__)


def run(
    study: StudyConfig,
    *,
    location: StudyLocation,
    setup: TrainerSetup,
    workers: int,
    show: bool = True,
    observers: Sequence[Observer] = (),
    initialise: Callable[[Store, StudyFiles], None] | None = None,
) -> None:
    """Creates a study or resumes it, and returns when it is done.

    Args:
        study: The study.
        location: The store and the files of the study.
        setup: The trainer of each worker, and the resources of this machine that it uses.
        workers: W, the number of worker processes.
        show: Show a live view, or plain lines without a terminal. False: only the messages of workers, on standard error.
        observers: Receive each trial that finishes during the run, once, and the end of the run.
        initialise: Called with a new study before its first trial is trained. `continue` copies a lineage into it.

    Raises:
        StoreError: The store or the directory of the study cannot be used.
        StudyBusy: Another process is running the study.
        StudyChanged: The store has a study of this name with another definition.
        StudyFailed: The program of the study does not work.
        UsageError: The training function cannot be sent to worker processes, or a device is not visible here.
        WorkerError: Workers cannot start.
        KeyboardInterrupt: Ctrl-C or SIGTERM. Running trials are pending again.
    """
    job = job_for(study, location, setup.trainer)  # first: a function that cannot be sent is refused before a study is created
    devices = devices_for(setup.engine.devices)
    opened = location.open_study(study.name, create=True, checksums=study.checkpoints.checksums)
    with opened as here, sole_run(here.files, study.name), interruptible(first_finishes=True) as interruptions:
        store, files = here.store, here.files
        controller = Controller(store)
        controller.open(study)
        files.prepare()
        if initialise is not None:
            initialise(store, files)
        recover(store, study.name, files)
        view = _ViewOnDemand(store, study.name, workers=workers, show=show)
        with observing(store, study.name, [view, *observers]) as observation, log_shown_by(view.say):
            _log_note(study.name, here.note)
            _log_note(study.name, sharing_note(devices.names, workers))
            engine = engine_for(study, job, cwd=setup.trainer.cwd, client=controller, options=setup.engine, devices=devices)
            supervise(
                engine,
                store,
                study.name,
                workers=workers,
                observation=observation,
                grace=setup.grace,
                interruptions=interruptions,
            )
        if files.are_present:
            delete_orphans(store, study.name, files)  # of attempts that were lost while the study ran
        _raise_if_failed(store, study.name)


def run_and_report(
    study: StudyConfig,
    *,
    location: StudyLocation,
    setup: TrainerSetup,
    workers: int,
    show: bool = True,
    initialise: Callable[[Store, StudyFiles], None] | None = None,
    report: Callable[[], T],
) -> T:
    """Runs a study as `run` does, and reports how it ended, also after an interruption or a failure.

    Args:
        study, location, setup, workers, show, initialise: As in `run`.
        report: Prints the end of the run.

    Returns:
        The value of `report`.

    Raises:
        BroodlineError: As `run` raises it.
    """
    try:
        run(study, location=location, setup=setup, workers=workers, show=show, initialise=initialise)
    except (KeyboardInterrupt, StudyFailed, WorkerError):
        report()
        raise
    return report()


def join(study: StudyConfig, *, location: StudyLocation, setup: TrainerSetup, worker: str, show: bool = True) -> None:
    """Adds one worker to a study that exists, and returns when the study is done.

    Args:
        study: The study, as the caller's study file defines it.
        location, setup, show: As in `run`.
        worker: The name of the worker, unique among the workers of the study.

    Raises:
        FilesMissing: The directory of the study's files is not there.
        StoreError: The store does not exist or cannot be written, or the directory belongs to another one.
        StudyChanged: The study in the store has another definition.
        StudyFailed: The program of the study does not work.
        StudyNotFound: The store has no such study.
        UsageError: A device is not visible here.
        WorkerError: The worker cannot start.
        KeyboardInterrupt: Ctrl-C or SIGTERM. The running trial is pending again.
    """
    job, devices = job_for(study, location, setup.trainer), devices_for(setup.engine.devices)
    with closing(location.open(create=False)) as store, interruptible():
        # A transaction, not a snapshot: a store that cannot be written fails here, before a process starts.
        with store.transaction(study.name) as records:
            check_same(records, study)
            # The controller leases by the stored definition. A lease of this file would be renewed too seldom if it is longer.
            study = study_from(records.definition())
        note = location.claim().note
        view = _ViewOnDemand(store, study.name, workers=0, show=show)
        client, options = Controller(store), setup.engine
        with observing(store, study.name, [view]) as observation, log_shown_by(view.say):
            _log_note(study.name, note)
            _log_note(study.name, joining_note(devices.names))
            engine = engine_for(
                study,
                job,
                cwd=setup.trainer.cwd,
                client=client,
                options=options,
                name=lambda _position: worker,
                devices=devices,
            )
            supervise(engine, store, study.name, workers=1, observation=observation, grace=setup.grace)
        _raise_if_failed(store, study.name)


def _log_note(study: str, note: str) -> None:
    if note:
        _log.warning(note, extra={"study": study, "worker": None, "trial": None})


class _ViewOnDemand:
    """A view that is made at its first use: the terminal library takes time to load, and the workers start during that time.

    Args:
        store: The study's store.
        study: Its name.
        workers: As in `terminal_view`.
        show: As in `run`.
    """

    def __init__(self, store: Store, study: str, *, workers: int, show: bool) -> None:
        self._store, self._study, self._workers, self._show = store, study, workers, show

    @cached_property
    def _view(self) -> View:
        from broodline.reports.terminal.live import Unfailing, quiet_view, terminal_view

        view_of = terminal_view(self._study, workers=self._workers) if self._show else quiet_view
        return Unfailing(view_of(self._store))

    def say(self, line: str) -> None:
        self._view.say(line)

    def trial_finished(self, trial: Trial) -> None:
        self._view.trial_finished(trial)

    def refresh(self) -> None:
        self._view.refresh()

    def end(self) -> None:
        self._view.end()


def _raise_if_failed(store: Store, study: str) -> None:
    with store.snapshot(study) as records:
        progress = records.progress()
    if progress.state is StudyState.FAILED:
        raise StudyFailed(f"study '{study}' failed: {progress.reason}")
