"""The signals that a process of broodline needs, whatever the process that started it did to them.

A parent may ignore SIGCHLD, or block signals: some service managers, notebook servers and container entry points do. Both are
inherited by every program that is started. While SIGCHLD is ignored the kernel keeps no exit status, and Python then reports 0:
a failed program reads as one that succeeded.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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
