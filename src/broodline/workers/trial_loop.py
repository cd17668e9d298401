"""`broodline.trials()`: the loop of a worker, turned inside out for a program that has a loop of its own.

A resident program is handed its trials by the worker that started it. With a store and a study, the program is the worker.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from broodline.core.trial import Measurement
from broodline.errors import LeaseLost, Preempted, Stopped, TrialFailed, UsageError
from broodline.workers.metrics import finish
from broodline.workers.running_trial import RunningTrial, told
from broodline.workers.trainers.base import Assignment


def trials(store: str | None = None, study: str | None = None, *, worker: str | None = None) -> Iterator[RunningTrial]:
    """Yields the trials to train; each is trained inside of `with trial:` and ends where that block ends.

    Args:
        store: The store's URL; without it the program must have been started as a resident program.
        study: The study's name; it must exist.
        worker: The name of this worker, the host's name and the process's number by default; who comes back under
            the same name gets back the trial that it held.

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
                "broodline.trials(): this program was not started as a resident program ([train] resident = true); "
                "name a store and a study: broodline.trials('sqlite:///broodline.db', 'my-study')"
            )
        from broodline.workers.resident_client import trials as handed_out

        return handed_out()
    return _own_trials(store, study, worker or f"{socket.gethostname()}-{os.getpid()}")


def _own_trials(url: str, study: str, name: str) -> Iterator[RunningTrial]:
    """Works on a study in a thread that hands its trials to the caller's."""
    from broodline.config.study import study_from
    from broodline.controller.client import RENEWALS, WorkerSession
    from broodline.controller.controller import Controller
    from broodline.storage.location import StudyLocation
    from broodline.workers.heartbeat import HeartbeatProcess
    from broodline.workers.liveness import alive
    from broodline.workers.worker import Worker

    location, handover, session = StudyLocation(url=url), _Handover(), uuid.uuid4().hex
    with location.records(study) as records:
        defined = study_from(records.definition())
    with location.open_study(study, checksums=defined.checkpoints.checksums) as opened:
        files, client = opened.files, Controller(opened.store)
        files.prepare()
        worker = Worker(
            client=client, study=study, identity=WorkerSession(worker=name, session=session), files=files, trainer=handover
        )
        thread = threading.Thread(target=handover.run, args=(worker.run,), name="broodline worker", daemon=True)
        heartbeat = HeartbeatProcess(
            store=location.url,
            study=study,
            session=session,
            seconds=defined.limits.lease / RENEWALS,
            called_back=handover.called_back.set,
        )
        with alive(files.workers, session), heartbeat:
            thread.start()
            try:
                yield from handover.trials()
            finally:
                worker.leave()
                handover.abandon()
                thread.join()


@dataclass(kw_only=True)
class _Handover:
    """A trainer that hands each assignment to another thread, and waits until that one is done with it."""

    _given: queue.Queue[Assignment | BaseException | None] = field(default_factory=queue.Queue)
    _ended: queue.Queue[list[Measurement] | BaseException] = field(default_factory=queue.Queue)
    called_back: threading.Event = field(default_factory=threading.Event)

    def run(self, work: Callable[[], str]) -> None:
        """Runs in the worker's thread; what it raises is raised in the caller's."""
        try:
            work()
        except BaseException as error:
            self._given.put(error)
        else:
            self._given.put(None)

    def train(self, assignment: Assignment) -> list[Measurement]:
        self._given.put(assignment)
        outcome = self._ended.get()
        if isinstance(outcome, BaseException):
            raise outcome
        return finish(outcome, assignment.trial, "the block `with trial:` was left without a call of trial.report")

    def close(self) -> None:
        """Nothing is kept."""

    def abandon(self) -> None:
        """Gives back the trial that is being trained, if any."""
        self._ended.put(Preempted())

    def trials(self) -> Iterator[RunningTrial]:
        """Yields the trials, in the caller's thread."""
        while (given := self._given.get()) is not None:
            if isinstance(given, BaseException):
                raise given
            trial = self._running(given)
            yield trial
            if not trial.left:
                raise UsageError(f"trial {trial.number}: train it inside of `with trial:`, so that its end is known")

    def _running(self, assignment: Assignment) -> RunningTrial:
        measurements: list[Measurement] = []

        self.called_back.clear()

        def tell(measurement: Measurement) -> None:
            measurements.append(measurement)
            if self.called_back.is_set():
                raise Preempted
            assignment.report(measurement)

        def leave(_trial: RunningTrial, error: BaseException | None) -> bool:
            self._ended.put(measurements if error is None else _outcome_of(error))
            return isinstance(error, Exception | Preempted)

        return RunningTrial(
            assignment.trial,
            restore=assignment.restore,
            save=assignment.save,
            worker=assignment.worker,
            devices=assignment.devices,
            tell=tell,
            leave=leave,
        )


def _outcome_of(error: BaseException) -> BaseException:
    """What the worker is told of an error that left `with trial:`; Ctrl-C and the like give the trial back."""
    if isinstance(error, Stopped | TrialFailed | LeaseLost) or not isinstance(error, Exception):
        return error if isinstance(error, Exception) else Preempted()
    traceback.print_exception(error)
    failed = TrialFailed(told(error), "".join(traceback.format_exception(error)))
    failed.__cause__ = error
    return failed
