"""Runs a study on this machine, for the command line and for Python alike: store, controller, engine and live view.

`run` creates the study or resumes it, and holds it for this process. `join` adds one worker to a study that another process
may be running.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cached_property, partial
from typing import TypeVar

from broodline.config.study import study_from
from broodline.controller.access import client_of
from broodline.controller.controller import check_same
from broodline.core.population import Progress, StudyState
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial
from broodline.errors import StudyFailed, WorkerError
from broodline.reports.observer import Observer, View, observing
from broodline.reports.terminal.log_lines import log_shown_by
from broodline.storage.base import Store
from broodline.storage.location import StudyLocation
from broodline.storage.study_files import StudyFiles
from broodline.studies.engine import engine_for, job_at, job_for
from broodline.studies.interruption import interruptible
from broodline.studies.recovery import clean_up_after_the_dead, recover, recover_at_end
from broodline.studies.sole_run import sole_run
from broodline.studies.supervision import supervise
from broodline.studies.trainer import TrainerSetup
from broodline.workers.device_choice import as_named, for_run, for_worker
from broodline.workers.device_leases import leased
from broodline.workers.devices import devices_for
from broodline.workers.retrying import until_answered

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
        store, files, client = here.store, here.files, client_of(here.store)
        client.open(study)
        files.prepare()
        if initialise is not None:
            initialise(store, files)
        recover(store, client, study.name, files)
        view = _ViewOnDemand(store, study.name, workers=workers, show=show)
        with (
            leased(files, devices.names, partial(for_run, workers=workers), workers=workers) as leases,
            observing(store, study.name, [view, *observers]) as observation,
            log_shown_by(view.say),
        ):
            _log_note(study.name, here.note)
            _log_note(study.name, leases.note)
            engine = engine_for(
                study,
                job_at(here.location, job),
                cwd=setup.trainer.cwd,
                client=client,
                options=setup.engine,
                leases=leases,
                visibility=devices.variables,
            )
            supervise(
                engine,
                store,
                client,
                study.name,
                workers=workers,
                observation=observation,
                grace=setup.grace,
                interruptions=interruptions,
            )
        _insist(study.name, lambda: recover_at_end(store, client, study.name, files))
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


def join(
    study: StudyConfig,
    *,
    location: StudyLocation,
    setup: TrainerSetup,
    worker: str,
    show: bool = True,
    devices_named: bool = False,
) -> None:
    """Adds one worker to a study that exists, and returns when the study is done.

    Args:
        study: The study, as the caller's study file defines it.
        location, setup, show: As in `run`.
        worker: The name of the worker, unique among the workers of the study.
        devices_named: The devices of the setup are meant for this worker: it uses all of them, whether or not others do.
            Otherwise it takes free ones among them.

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
    location.check_new()  # a database that was deleted: put it back, from its rescued copy
    with closing(location.open(create=False)) as store, interruptible():
        # A transaction, not a snapshot: a store that cannot be written fails here, before a process starts.
        with store.transaction(study.name) as records:
            check_same(records, study)
            # The controller leases by the stored definition. A lease of this file would be renewed too seldom if it is longer.
            study = study_from(records.definition())
        claimed = location.claim(study.name)
        location = location.settled(claimed)
        choose = as_named if devices_named else partial(for_worker, workers=study.workers)
        view = _ViewOnDemand(store, study.name, workers=0, show=show)
        client, options, job = client_of(store), setup.engine, job_at(location, job)
        with (
            leased(location.files_of(study.name), devices.names, choose) as leases,
            observing(store, study.name, [view]) as observation,
            log_shown_by(view.say),
        ):
            for note in (claimed.note, leases.note):
                _log_note(study.name, note)
            engine = engine_for(
                study,
                job,
                cwd=setup.trainer.cwd,
                client=client,
                options=options,
                name=lambda _position: worker,
                leases=leases,
                visibility=devices.variables,
            )
            supervise(engine, store, client, study.name, workers=1, observation=observation, grace=setup.grace)
        if (files := location.files_of(study.name)).are_present:
            clean_up_after_the_dead(client, study.name, files)
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


def _insist(study: str, call: Callable[[], T]) -> T:
    """Makes a call as soon as the store answers: hours of training are over, and a service that starts again ends no run."""
    return until_answered(call, logging.LoggerAdapter(_log, {"study": study, "worker": None, "trial": None}))


def _raise_if_failed(store: Store, study: str) -> None:
    def read() -> Progress:
        with store.snapshot(study) as records:
            return records.progress()

    progress = _insist(study, read)
    if progress.state is StudyState.FAILED:
        raise StudyFailed(f"study '{study}' failed: {progress.reason}")
