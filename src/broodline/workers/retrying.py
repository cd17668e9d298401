"""Waits between attempts that grow longer, and calls that are made again until the store answers."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from broodline.errors import StoreError, StoreFailing, StoreUnavailable

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0  # seconds
PATIENCE = 60.0  # seconds
_LONGEST_OUTAGE_WAIT = 5.0


def growing(longest: float = LONGEST_WAIT) -> Iterator[float]:
    """Seconds to wait before each further attempt: twice as many each time, up to a limit.

    >>> waits = growing()
    >>> [next(waits) for _ in range(6)]
    [0.05, 0.1, 0.2, 0.4, 0.8, 1.0]
    """
    seconds = FIRST_WAIT
    while True:
        yield seconds
        seconds = min(2 * seconds, longest)


def pauses(longest: float = LONGEST_WAIT) -> Callable[[], None]:
    """Returns a function that sleeps for longer at each call, each time by chance: workers that fail together spread out."""
    waits = growing(longest)
    return lambda: time.sleep(next(waits) * random.uniform(0.5, 1.0))


def until_answered(call: Callable[[], T], log: logging.LoggerAdapter[logging.Logger], *, patience: float = PATIENCE) -> T:
    """Makes a call, again and again while the store is unavailable; every other error is raised.

    Args:
        call: A call of the client, which may be made twice.
        log: Gets one record when the store does not answer, and one when it answers again.
        patience: Seconds for which errors of the disk in a row are waited for.

    Raises:
        StoreError: The disk reported errors for as long as that.
    """
    pause, failed, failing_since = pauses(_LONGEST_OUTAGE_WAIT), False, math.inf
    while True:
        try:
            answer = call()
        except StoreUnavailable as error:
            failing_since = min(failing_since, time.monotonic()) if isinstance(error, StoreFailing) else math.inf
            if time.monotonic() - failing_since >= patience:
                raise StoreError(f"{error}: and that for {patience:g} s; repair or replace the disk of the database") from error
            if not failed:
                log.warning(f"the store does not answer ({error}); waiting")
            failed = True
            pause()
            continue
        if failed:
            log.info("the store answers again")
        return answer
