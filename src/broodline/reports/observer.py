"""Observers: the live view, plain lines and trackers follow a run through the same three calls.

The runner feeds all of them from the store, in its own process. Workers never call an observer: a trial that another process
trains, or that ends because its worker died, is observed like any other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

from broodline.core.trial import Trial
from broodline.errors import StoreUnavailable
from broodline.reports.feed import FinishedTrials
from broodline.storage.base import Records

FEED_SECONDS = 0.5


class Observer(Protocol):
    """Follows a run. All calls come from the thread of the runner, one at a time; an error that one raises ends the run."""

    def trial_finished(self, trial: Trial) -> None:
        """Receives a trial that completed, failed or was stopped.

        The runner calls this once a run for each trial that finishes during the run, in the order in which they finish.
        """

    def refresh(self) -> None:
        """Updates the display, if it is time to. The runner calls this several times a second."""

    def end(self) -> None:
        """Closes the observer. The runner calls this once, also after an error or an interrupt, and last of all."""


class View(Observer, Protocol):
    """An observer that shows a run to people."""

    def say(self, line: str) -> None:
        """Shows one line, such as a message of a worker."""


ViewOf = Callable[[Records], View]


class Every:
    """A pace for repeated work: `due` is true at most once in so many seconds.

    Args:
        seconds: The interval.
        wait: Count the first interval from now; otherwise the first call is due.
    """

    def __init__(self, seconds: float, *, wait: bool = False) -> None:
        self._seconds = seconds
        self._next = time.monotonic() + seconds if wait else -math.inf

    def due(self) -> bool:
        """Returns whether the interval is over, and starts the next one if it is."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True


class Observation:
    """Feeds observers from the store; `observing` makes one for a run.

    Args:
        store: The study's store.
        study: The study's name.
        observers: In the order in which they are called.
    """

    def __init__(self, store: Records, study: str, observers: Sequence[Observer]) -> None:
        self._store, self._study, self._observers = store, study, observers
        self._look = Every(FEED_SECONDS, wait=True)
        with store.snapshot(study) as records:
            self._feed = FinishedTrials(records)

    def refresh(self) -> None:
        """Reports newly finished trials, if it is time to look for them, and refreshes every observer."""
        if self._look.due():
            self.report_finished()
        for observer in self._observers:
            observer.refresh()

    def report_finished(self) -> None:
        """Reports newly finished trials now."""
        for trial in self._newly_finished():
            for observer in self._observers:
                observer.trial_finished(trial)

    def _newly_finished(self) -> tuple[Trial, ...]:
        try:
            with self._store.snapshot(self._study) as records:
                return self._feed.newly_finished(records)
        except StoreUnavailable:
            return ()  # nothing is lost: the feed returns these trials at a later look


@contextmanager
def observing(store: Records, study: str, observers: Sequence[Observer]) -> Iterator[Observation]:
    """Feeds observers for as long as a run lasts, then ends them.

    On the way out, observers receive the trials that finished since the last look. Each one is ended, whatever another raises.
    """
    with ExitStack() as stack:
        for observer in observers:
            stack.callback(observer.end)
        observation = Observation(store, study, observers)
        stack.callback(observation.report_finished)
        yield observation
