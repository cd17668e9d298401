"""Ends a worker process in time, whatever its Python function left running.

Theory of operation. Python ends a process in this order: it waits for threads that are no daemons, it calls the exit handlers
(which wait for child processes of `multiprocessing`), and it frees the modules. A function that leaves such a thread or child
would keep the process, and `study.run`, for ever, though all trials are recorded. So a daemon thread watches the order:

* It gives threads `_THREAD_SECONDS` to end. Then it calls the exit handlers itself (a logger's upload is one of them).
* It gives the exit handlers `_HANDLER_SECONDS`.
* Then it ends the process.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

_THREAD_SECONDS = 3.0
_HANDLER_SECONDS = 10.0


def end_in_time(status: int, *, last: Callable[[], None], warn: Callable[[str], None]) -> None:
    """Makes sure that this process ends soon after its main thread does; returns at once.

    Args:
        status: Its exit status.
        last: Called before the process is ended by force; it may have been called before.
        warn: Logs a message.
    """
    handlers = threading.Event()
    atexit.register(handlers.set)  # the handler that was registered last is called first
    threading.Thread(target=_watch, args=(handlers, status, last, warn), name="broodline end", daemon=True).start()


def _watch(handlers: threading.Event, status: int, last: Callable[[], None], warn: Callable[[str], None]) -> None:
    if handlers.wait(_THREAD_SECONDS):
        threading.Event().wait(_HANDLER_SECONDS)  # the main thread calls them, and then ends the process
    else:
        names = ", ".join(sorted(thread.name for thread in _left_threads()))
        warn(f"the training function left a thread running ({names}); the worker process ends without it")
        calls = threading.Thread(target=atexit._run_exitfuncs, name="broodline exit handlers", daemon=True)
        calls.start()
        calls.join(_HANDLER_SECONDS)
    last()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or replaced by the function
            stream.flush()
    os._exit(status)


def _left_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
