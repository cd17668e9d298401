"""Supervises the workers of one run until they end or the study ends them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

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
    is_stopped, finishing = stop_check(store, study), False
    try:
        engine.start(workers)
        while engine.alive() and not is_stopped():
            engine.attend(ATTEND_SECONDS)
            observation.refresh()
            if interruptions is not None and interruptions.finishing and not finishing:
                finishing = _finish(store, client, study)
    finally:
        running = _running(store, study)
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


def stop_check(store: Records, study: str) -> Callable[[], bool]:
    """Returns a function that is true once the study stopped or failed; it reads the store every `LOOK_SECONDS`.

    Workers learn of a stop when their program reports. A program that reports nothing while it trains would run to its end.
    """
    looked, moved = time.monotonic(), False

    def is_stopped() -> bool:
        nonlocal looked, moved
        if time.monotonic() < looked + LOOK_SECONDS:
            return False
        looked = time.monotonic()
        try:
            with store.snapshot(study) as records:
                moved = False
                return records.progress().state in (StudyState.STOPPED, StudyState.FAILED)
        except StoreMoved as error:  # workers that train notice it only when they report
            if not moved:
                _log.warning(f"{error}; the study waits", extra={"study": study, "worker": None, "trial": None})
            moved = True
            return False
        except StoreUnavailable:  # workers retry their calls, so a short outage ends no run
            return False

    return is_stopped
