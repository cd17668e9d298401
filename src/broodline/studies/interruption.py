"""Ends a run on Ctrl-C and on SIGTERM, at once or after the running trials.

Theory of operation. In a terminal, the first Ctrl-C only sets a flag: no new trial starts and the running ones finish, because
their work may be worth the wait. The second one gives them back. Without a terminal no person waits, and a
scheduler kills soon after it has asked: a signal then gives the trials back at once.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from broodline.workers.signals import exit_statuses_kept


@dataclass(slots=True, kw_only=True)
class Interruptions:
    """The signals that a run has received.

    Args:
        first_finishes: The first Ctrl-C lets running trials finish.
        finishing: True after that Ctrl-C.
    """

    first_finishes: bool
    finishing: bool = False

    def on_interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        """Handles Ctrl-C."""
        if self.finishing or not self.first_finishes:
            raise KeyboardInterrupt
        self.finishing = True


@contextmanager
def interruptible(*, first_finishes: bool = False) -> Iterator[Interruptions]:
    """Makes Ctrl-C and SIGTERM raise KeyboardInterrupt, so that a run releases its trials before it ends; keeps exit statuses.

    Python delivers signals to the main thread only. In another thread this changes nothing.

    Args:
        first_finishes: The first Ctrl-C in a terminal sets `finishing` instead.
    """
    interruptions = Interruptions(first_finishes=first_finishes and in_terminal())
    if threading.current_thread() is not threading.main_thread():
        yield interruptions
        return
    previous = [signal.signal(signal.SIGTERM, _interrupt)]
    if interruptions.first_finishes:
        previous.append(signal.signal(signal.SIGINT, interruptions.on_interrupt))
    try:
        with exit_statuses_kept():
            yield interruptions
    finally:
        # The handler of SIGINT was replaced only where the first Ctrl-C finishes: then there are two.
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), previous, strict=False):
            signal.signal(number, handler)


def in_terminal() -> bool:
    """True if a person at a terminal started this process and can press Ctrl-C again."""
    try:
        return sys.stdin.isatty() and sys.stderr.isatty()
    except (AttributeError, ValueError):  # closed
        return False


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
