"""Loaded by every Python process of the soak: marks the phases of workers, and has the kernel kill an armed worker in one.

It also has the kernel kill a process that cleans up after a dead worker.

The package contains nothing of this; its methods are wrapped from outside.
"""

from __future__ import annotations

import ctypes
import functools
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

from soak.phase_log import CLEANER, DIRECTORY, NEWCOMER, Marks, log

_FIRST_GUESS = 0.003  # seconds: the duration of a phase that has not been measured yet
_CLOCK_MONOTONIC = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Sigevent(ctypes.Structure):
    _fields_ = (("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int), ("rest", ctypes.c_byte * 48))


class _Itimerspec(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns"))


def kill_after(seconds: float) -> None:
    """Has the kernel kill this process after a time: that needs no running thread, so any instruction can be the last."""
    timer = ctypes.c_void_p()
    event = _Sigevent(signo=signal.SIGKILL)
    nanoseconds = max(1, round(seconds * 1e9))
    when = _Itimerspec(first_s=nanoseconds // 10**9, first_ns=nanoseconds % 10**9)
    made = _LIBC.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)) == 0
    if not made or _LIBC.timer_settime(timer, 0, ctypes.byref(when), None):
        raise OSError(ctypes.get_errno(), "the timer can't be created")


def taken(name: str) -> bool:
    """Takes a file that the fault injector left for the first process that finds it; True if this is that process."""
    with suppress(FileNotFoundError):
        waiting = Path(os.environ[DIRECTORY], name)
        waiting.rename(f"{waiting}-{os.getpid()}")
        return True
    return False


class Phases:
    """Marks the phases of this worker."""

    def __init__(self) -> None:
        self._marks = Marks.create()
        self._took: dict[str, float] = {}
        self._lock = threading.Lock()
        if taken(NEWCOMER):  # this worker is the newcomer that the fault injector waits for
            self._marks.arm("asking", random.random())

    @contextmanager
    def own(self, phase: str) -> Iterator[None]:
        """A phase of the working thread."""
        before = self._marks.own
        if phase == "training":
            self._marks.of_trainer = "between"
        self._marks.own = phase
        try:
            with self._timed(phase):
                yield
        finally:
            self._marks.own = before

    @contextmanager
    def deletion(self) -> Iterator[None]:
        """A deletion, in any thread."""
        with self._lock:
            self._marks.deleting(+1)
        try:
            with self._timed("deleting"):
                yield
        finally:
            with self._lock:
                self._marks.deleting(-1)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        moment = self._marks.hit(phase)
        if moment is not None:
            kill_after(moment * self._took.get(phase, _FIRST_GUESS))
        began = time.monotonic()
        yield
        self._took[phase] = time.monotonic() - began

    def wrap(self, owner: Any, name: str, phase: str) -> None:
        """Makes each call of a method a phase."""
        method = getattr(owner, name)

        @functools.wraps(method)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.own(phase):
                return method(*args, **kwargs)

        setattr(owner, name, wrapped)


def watch_clean_up() -> None:
    """Wraps the function that ends the programs of a dead worker and deletes their files."""
    from broodline.studies import recovery
    from broodline.workers.engines import local
    from broodline.workers.trainers.scratch import clear_after

    took = _FIRST_GUESS

    def cleared(session: str) -> None:
        nonlocal took
        if armed := taken(CLEANER):
            kill_after(random.random() * took)
        began = time.monotonic()
        clear_after(session)
        took = time.monotonic() - began
        if armed:  # the timer comes late
            mine = Path(os.environ[DIRECTORY], f"{CLEANER}-{os.getpid()}")
            mine.rename(f"{mine}-done")

    for module in (recovery, local):
        module.clear_after = cleared  # type: ignore[attr-defined]


def log_completions(client: Any) -> None:
    """Makes a client log which completions were acknowledged, and which refused."""
    from broodline.errors import LeaseLost

    complete = client.complete

    def completed(self: Any, study: str, number: int, attempt: int, *rest: Any) -> Any:
        try:
            answer = complete(self, study, number, attempt, *rest)
        except LeaseLost as lost:
            log("refused", trial=number, attempt=attempt, why=str(lost))
            raise
        log("acknowledged", trial=number, attempt=attempt, checkpoint=rest[1])
        return answer

    client.complete = completed


def watch_work() -> None:
    """Wraps the methods that a worker calls."""
    import shutil

    from broodline.controller.controller import Controller
    from broodline.service.http_client import HttpClient
    from broodline.storage.checkpoints.local import REMOVED, LocalCheckpointStore
    from broodline.workers.trainers.command import CommandTrainer
    from broodline.workers.trainers.function import FunctionTrainer
    from broodline.workers.trainers.resident import ResidentTrainer
    from broodline.workers.trial_loop import _Handover

    phases = Phases()
    for client in (Controller, HttpClient):
        phases.wrap(client, "ask", "asking")
    phases.wrap(LocalCheckpointStore, "open", "restoring")
    for trainer in (CommandTrainer, ResidentTrainer, FunctionTrainer, _Handover):
        phases.wrap(trainer, "train", "training")
    phases.wrap(LocalCheckpointStore, "commit", "committing")
    remove = shutil.rmtree
    for client in (Controller, HttpClient):
        phases.wrap(client, "complete", "completing")
        log_completions(client)

    def deleted(path: Any, *args: Any, **kwargs: Any) -> None:
        if not Path(path).name.endswith(REMOVED):
            return remove(path, *args, **kwargs)
        with phases.deletion():
            return remove(path, *args, **kwargs)

    replaced: Callable[..., Any] = deleted
    shutil.rmtree = replaced  # type: ignore[assignment]


def main(arguments: list[str]) -> None:
    """Watches what this process does in the study."""
    joins = any(argument.endswith("function_study.py") for argument in arguments) and "worker" in arguments
    if joins or any("broodline.workers.engines.worker_process" in argument for argument in arguments):
        watch_work()
    elif "run" in arguments or "worker" in arguments:
        watch_clean_up()


main(sys.orig_argv)
