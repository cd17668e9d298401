"""Supervises the workers of one run until they end or the study ends them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from broodline.core.population import StudyState
from broodline.errors import StoreMoved, StoreUnavailable
from broodline.reports.observer import Observation
from broodline.storage.base import Store
from broodline.workers.engines.base import Engine

_log = logging.getLogger(__name__)
ATTEND_SECONDS = 0.1
LOOK_SECONDS = 0.5


def supervise(engine: Engine, store: Store, study: str, *, workers: int, observation: Observation, grace: float) -> None:
    """Starts workers, and returns when all have ended or the study was stopped.

    Args:
        engine: Starts and restarts the workers.
        store: The store of the study.
        study: Its name.
        workers: The number of workers.
        observation: Refreshed several times a second.
        grace: Seconds between the request that workers end and the end of those that still run.
    """
    is_stopped = stop_check(store, study)
    try:
        engine.start(workers)
        while engine.alive() and not is_stopped():
            engine.attend(ATTEND_SECONDS)
            observation.refresh()
    finally:
        engine.stop(grace)


def stop_check(store: Store, study: str) -> Callable[[], bool]:
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
