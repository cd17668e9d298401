"""`broodline.trials()`: the loop of a worker, turned inside out for a program that has a loop of its own.

Theory of operation. A worker calls a trainer; here the user's code calls for trials. So the worker runs in a thread, and
its trainer is a `_Handover`: it puts each assignment into a queue and waits for the outcome. The user's thread takes the
assignment from the queue, yields it as a `RunningTrial`, and puts the outcome into the other queue where the block
`with trial:` is left. The lease is renewed by another process, see `heartbeat`.

A resident program is sent its trials by the worker that started it. With a store and a study, the program is the worker.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from broodline.core.trial import Measurement
from broodline.errors import LeaseLost, Preempted, Stopped, TrialFailed, UsageError
from broodline.workers.metrics import finish
from broodline.workers.running_trial import RunningTrial, in_one_line, recorded
from broodline.workers.trainers.base import Assignment

if TYPE_CHECKING:
    from broodline.storage.location import StudyLocation


def trials(
    store: str | None = None, study: str | None = None, *, worker: str | None = None, files: str | os.PathLike[str] | None = None
) -> Iterator[RunningTrial]:
    """Yields the trials to train; each is trained inside of `with trial:` and ends where that block ends.

    Args:
        store: The store's URL; without it the program must have been started as a resident program.
        study: The study's name; it must exist.
        worker: The name of this worker, the host's name and the process's number by default. A worker that comes back under
            its name gets back the trial that it held.
        files: The directory of the files of the store's studies, if the store is no SQLite database; None: the one that the
            store records.

    Raises:
        UsageError: The program is not resident, and no store is named.

    Example:
        >>> for trial in broodline.trials("sqlite:///broodline.db", "digits"):   # doctest: +SKIP
        ...     with trial:
        ...         train(trial)
        ...         trial.report(step=trial.start + trial.steps, accuracy=0.9)
    """
    if store is None or study is None:
        if "BROODLINE_REPLY" not in os.environ:
            raise UsageError(
                "broodline.trials(): this program was not started as a resident program ([train] resident = true)\n"
                "help: name a store and a study: broodline.trials('sqlite:///broodline.db', 'my-study')"
            )
        from broodline.workers.resident_client import trials as resident_trials

        return resident_trials()
    from broodline.storage.location import StudyLocation

    location = StudyLocation(url=store, files=None if files is None else Path(files))
    return _own_trials(location, study, worker or f"{socket.gethostname()}-{os.getpid()}")


def _own_trials(location: StudyLocation, study: str, name: str) -> Iterator[RunningTrial]:
    """Works on a study in a thread that hands its trials to the caller's."""
    from broodline.config.study import study_from
    from broodline.controller.access import client_of
    from broodline.controller.client import RENEWALS, WorkerSession, session_of_host
    from broodline.workers.device_choice import as_named
    from broodline.workers.device_leases import leased
    from broodline.workers.devices import devices_for
    from broodline.workers.heartbeat import HeartbeatProcess
    from broodline.workers.liveness import alive
    from broodline.workers.worker import Worker

    handover, session = _Handover(), session_of_host(socket.gethostname(), uuid.uuid4().hex)
    location.check_new()  # a database that was deleted: put it back, from its rescued copy
    with location.records(study) as records:
        defined = study_from(records.definition())
    with location.open_study(study, checksums=defined.checkpoints.checksums) as opened:
        files, client = opened.files, client_of(opened.store)
        files.prepare()
        devices = devices_for(None)
        worker = Worker(
            client=client,
            study=study,
            identity=WorkerSession(worker=name, session=session),
            files=files,
            trainer=handover,
            devices=devices.names,  # the program is the only worker of its process: it has all that are visible
        )
        if opened.note:
            worker.log.warning(opened.note)
        thread = threading.Thread(target=handover.run, args=(worker.run,), name="broodline worker", daemon=True)
        heartbeat = HeartbeatProcess(
            store=location.url,
            study=study,
            session=session,
            seconds=defined.limits.lease / RENEWALS,
            called_back=handover.called_back.set,
            log=worker.log,
        )
        # Devices that were not chosen by a variable are not held: which of them the program uses is not known.
        held = devices.names if devices.inherited else ()
        # The lock of `alive` first: without it another process would take this session for a dead one.
        with alive(files.workers, session), leased(files, held, as_named) as leases, heartbeat:
            if leases.note:
                worker.log.warning(leases.note)
            thread.start()
            try:
                yield from handover.trials()
            finally:
                # Whichever way the caller leaves the loop, `break` and errors included: the worker gives its trial back.
                worker.leave()
                handover.abandon()
                thread.join()


@dataclass(kw_only=True)
class _Handover:
    """A trainer that hands each assignment to another thread, and waits for the outcome.

    Attributes:
        called_back: Set, by another thread, when the trial that is trained now is to be given back.
    """

    called_back: threading.Event = field(default_factory=threading.Event)
    _assignments: queue.Queue[Assignment | BaseException | None] = field(default_factory=queue.Queue)
    _outcomes: queue.Queue[list[Measurement] | BaseException] = field(default_factory=queue.Queue)

    def run(self, work: Callable[[], str]) -> None:
        """Runs in the worker's thread; an error of that is raised in the caller's."""
        try:
            work()
        except BaseException as error:
            # The caller waits at this queue, so an error in the worker's thread reaches it here.
            self._assignments.put(error)
        else:
            self._assignments.put(None)

    def train(self, assignment: Assignment) -> list[Measurement]:
        self._assignments.put(assignment)
        outcome = self._outcomes.get()
        if isinstance(outcome, BaseException):
            raise outcome
        return finish(outcome, assignment.trial, "the block `with trial:` was left without a call of trial.report")

    def close(self) -> None:
        """Nothing is kept between trials."""

    def abandon(self) -> None:
        """Gives back the trial that is being trained, if any."""
        self._outcomes.put(Preempted())

    def trials(self) -> Iterator[RunningTrial]:
        """Yields the trials, in the caller's thread."""
        while (assignment := self._assignments.get()) is not None:
            if isinstance(assignment, BaseException):
                raise assignment
            trial = self._running(assignment)
            yield trial
            # Without the block the worker would wait for an outcome that never comes, and its heartbeat would keep the trial.
            if not trial.left:
                raise UsageError(f"trial {trial.number}: train it inside of `with trial:`, so that its end is known")

    def _running(self, assignment: Assignment) -> RunningTrial:
        self.called_back.clear()

        def report(measurement: Measurement) -> None:
            if self.called_back.is_set():
                raise Preempted
            assignment.report(measurement)

        measurements, record = recorded(report)

        def leave(_trial: RunningTrial, error: BaseException | None) -> bool:
            self._outcomes.put(measurements if error is None else _outcome_of(error))
            # True swallows the error: the loop goes to the next trial. Ctrl-C and SystemExit end the program.
            return isinstance(error, Exception | Preempted)

        return RunningTrial(replace(assignment, report=record), leave=leave)


def _outcome_of(error: BaseException) -> BaseException:
    """The error that the worker gets for one that left `with trial:`; Ctrl-C and the like give the trial back."""
    if isinstance(error, Stopped | TrialFailed | LeaseLost):
        return error
    if not isinstance(error, Exception):
        return Preempted()
    traceback.print_exception(error)
    failed = TrialFailed(in_one_line(error), "".join(traceback.format_exception(error)))
    failed.__cause__ = error
    return failed
