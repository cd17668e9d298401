"""The signals that a process of broodline needs, whatever the process that started it did to them.

A parent may ignore SIGCHLD, or block signals: some service managers, notebook servers and container entry points do. Both are
inherited by every program that is started. While SIGCHLD is ignored the kernel keeps no exit status, and Python then reports 0:
a failed program reads as one that succeeded.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import FrameType

_NEEDED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}


def keep_exit_statuses() -> None:
    """Undoes what this process inherited: exit statuses are kept, and no signal that ends a process is blocked.

    For the main thread of a process that belongs to broodline.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _NEEDED)


@contextmanager
def exit_statuses_kept() -> Iterator[None]:
    """Keeps exit statuses while the block runs, in a process that belongs to the user.

    Python sets signal handlers in the main thread only. In another thread this changes nothing.
    """
    ignored = signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    if not ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)


@contextmanager
def handlers_deferred() -> Iterator[None]:
    """Makes signals that arrive in the block wait for its end; then their handlers run, and may raise.

    For a step whose result must be known if it is done at all: a handler that raises inside of `subprocess.Popen` would leave a
    process that nothing waits for. Signals are not blocked, because a new process would inherit that. Python runs handlers in
    the main thread only, so another thread needs nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: handler for number in signal.Signals if callable(handler := signal.getsignal(number))}
    arrived: set[int] = set()
    deferring = True

    def defer(number: int, frame: FrameType | None) -> None:
        if deferring:
            arrived.add(number)
        else:  # it arrived while the handlers were put back
            handlers[signal.Signals(number)](number, frame)

    try:
        for number in handlers:
            signal.signal(number, defer)
        yield
    finally:
        deferring = False
        for number, handler in handlers.items():
            signal.signal(number, handler)
        _raise_all(arrived)


def _raise_all(numbers: Collection[int]) -> None:
    """Raises signals, so that each handler runs, although the first may raise an error."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in numbers:
        signal.raise_signal(number)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
