"""Supervises the workers of one run until they end or the study ends them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from broodline.config.study import study_from
from broodline.controller.access import StudyClient
from broodline.core.population import StudyState
from broodline.core.trial import TrialState
from broodline.errors import StoreError, StoreMoved, StoreUnavailable
from broodline.reports.format import format_count, format_duration
from broodline.reports.observer import Observation
from broodline.storage.base import Records
from broodline.studies.interruption import Interruptions
from broodline.workers.engines.base import Engine

_log = logging.getLogger(__name__)

ATTEND_SECONDS = 0.1
LOOK_SECONDS = 0.5


def supervise(
    engine: Engine,
    store: Records,
    client: StudyClient,
    study: str,
    *,
    workers: int,
    observation: Observation,
    grace: float,
    interruptions: Interruptions | None = None,
) -> None:
    """Starts workers, and returns when all have ended or the study was stopped.

    Args:
        engine: Starts and restarts the workers.
        store: The records of the study.
        client: Ends the study.
        study: Its name.
        workers: The number of workers.
        observation: Refreshed several times a second.
        grace: Seconds between the request that workers end and the end of those that still run.
        interruptions: After the first Ctrl-C in a terminal, no new trial starts.

    Raises:
        KeyboardInterrupt: Workers have finished their trials after Ctrl-C.
    """
    watch, finishing = StudyWatch(store=store, study=study, engine=engine), False
    try:
        engine.start(workers)
        while engine.alive() and not watch.is_stopped():
            engine.attend(ATTEND_SECONDS)
            observation.refresh()
            if interruptions is not None and interruptions.finishing and not finishing:
                finishing = _finish(store, client, study)
    finally:
        running = _running(store, study)  # before the stop: workers then give these trials back
        engine.stop(grace)
        _report_given_back(store, study, running)
    if interruptions is not None and interruptions.finishing:
        raise KeyboardInterrupt


def _finish(store: Records, client: StudyClient, study: str) -> bool:
    """Lets running trials finish; returns False if the store does not answer."""
    with suppress(StoreUnavailable):
        client.end(study, now=False, reason="interrupted by Ctrl-C")
        count = format_count(len(_running(store, study)), "running trial")
        _log.info(f"interrupted: {count} will finish, and no other starts; press Ctrl-C again to give them back")
        return True
    return False


def _running(store: Records, study: str) -> dict[int, float]:
    """The numbers of the running trials, and the seconds for which each has run."""
    with suppress(StoreError, StoreUnavailable), store.snapshot(study) as records:
        running = [trial for trial in records.unfinished() if trial.state is TrialState.RUNNING]
        return {trial.number: max(0.0, records.now - (trial.started or records.now)) for trial in running}
    return {}


def _report_given_back(store: Records, study: str, running: Mapping[int, float]) -> None:
    """Logs how much running work the workers gave back when they ended."""
    with suppress(StoreError, StoreUnavailable), store.snapshot(study) as records:
        pending = {trial.number for trial in records.unfinished() if trial.state is TrialState.PENDING}
        seconds = [since for number, since in running.items() if number in pending]
        if seconds:
            work = f"{format_count(len(seconds), 'running trial')}, {format_duration(sum(seconds))} of training"
            _log.info(f"gave back {work}: a resumed study trains them again")


@dataclass(kw_only=True)
class StudyWatch:
    """Reads the store every `LOOK_SECONDS`, for what the supervision of workers must know.

    Workers learn of a stop when their program reports. A program that reports nothing while it trains would run to its end.

    Args:
        store: The store of the study.
        study: Its name.
        engine: Renews leases as often as the study defines it now: a resumed run may have shortened them.
    """

    store: Records
    study: str
    engine: Engine
    _looked: float = field(default_factory=time.monotonic, init=False)
    _stopped: bool = field(default=False, init=False)
    _moved: bool = field(default=False, init=False)
    _definition: str = field(default="", init=False)

    def is_stopped(self) -> bool:
        """True once the study stopped or failed."""
        if time.monotonic() >= self._looked + LOOK_SECONDS:
            self._looked = time.monotonic()
            try:
                self._look()
            except StoreMoved as error:  # workers that train notice it only when they report
                if not self._moved:
                    _log.warning(f"{error}; the study waits", extra={"study": self.study, "worker": None, "trial": None})
                self._moved = True
            except StoreUnavailable:  # workers retry their calls, so a short outage ends no run
                pass
        return self._stopped

    def _look(self) -> None:
        with self.store.snapshot(self.study) as records:
            state, definition = records.progress().state, records.definition()
        self._moved = False
        self._stopped = state in (StudyState.STOPPED, StudyState.FAILED)
        if definition != self._definition:
            self._definition = definition
            self.engine.lease = study_from(definition).limits.lease
