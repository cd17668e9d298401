"""Keeps the lease of a program that is its own worker, from a small process beside it that lives exactly as long.

A thread of the program would stand still while its trainer holds the interpreter, in one long call of a C extension, say. The
keeper is started anew, not forked: it has none of the program's memory, locks, devices or open files, and a session of its own,
so what a terminal sends (Ctrl-C) reaches the program alone. It goes when the pipe from the program is closed, or the program has
ended, however that was. (A "parent death signal" would come when the thread ends that started the keeper: that proves nothing.)
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from broodline.controller.controller import Controller
from broodline.core.population import StudyState
from broodline.errors import StoreUnavailable, StudyNotFound, WorkerError
from broodline.storage.base import Store
from broodline.storage.location import open_store
from broodline.workers.liveness import is_stopped

LOOK_SECONDS = 1.0
_GRACE = 5.0
_HOME = str(Path(__file__).resolve().parents[2])
_START = "import sys; sys.path += {path!r}; from broodline.workers.heartbeat import main; main()"
_READY, _CALLED_BACK = "ready", "called back"


@dataclass(kw_only=True)
class HeartbeatProcess:
    """A context in which a session's leases are renewed, by a process that is started again should it die.

    Args:
        store: The store's URL.
        study: The study's name.
        session: Whose leases they are.
        seconds: Between two renewals.
        called_back: Is called, from another thread, when the study calls its running trials back.

    Raises:
        WorkerError: The process can't be started.
    """

    store: str
    study: str
    session: str
    seconds: float
    called_back: Callable[[], None]
    _popen: subprocess.Popen[str] = field(init=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False)
    _over: threading.Event = field(default_factory=threading.Event, init=False)

    def __enter__(self) -> Self:
        self._popen = self._started()
        self._thread = threading.Thread(target=self._listen, name="broodline keeper", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
        with self._turn:
            self._over.set()
            assert self._popen.stdin
            with suppress(OSError):  # a line, for who was forked from the program meanwhile may hold the pipe open too
                self._popen.stdin.write("end\n")
                self._popen.stdin.close()
            try:
                self._popen.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        self._thread.join()
        assert self._popen.stdout
        self._popen.stdout.close()

    def _started(self) -> subprocess.Popen[str]:
        arguments = (self.store, self.study, self.session, str(self.seconds), str(os.getpid()))
        try:
            popen = subprocess.Popen(
                [sys.executable, "-P", "-c", _START.format(path=[_HOME, *sys.path]), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
                bufsize=1,
            )
        except OSError as error:
            raise WorkerError(f"the process that keeps the lease can't be started: {error}") from error
        assert popen.stdin
        assert popen.stdout
        said: deque[str] = deque(maxlen=20)
        for line in popen.stdout:
            if line.rstrip() == _READY:
                return popen
            said.append(line)
        popen.wait()
        popen.stdin.close()
        popen.stdout.close()
        raise WorkerError("the process that keeps the lease died while it started: " + "".join(said))

    def _listen(self) -> None:
        while not self._over.is_set():
            assert self._popen.stdout
            for line in self._popen.stdout:
                if line.rstrip() == _CALLED_BACK:
                    self.called_back()
            with self._turn, suppress(WorkerError):
                if not self._over.is_set():
                    self._replace()
            self._over.wait(LOOK_SECONDS)

    def _replace(self) -> None:
        before, self._popen = self._popen, self._started()
        before.wait()
        for pipe in (before.stdin, before.stdout):
            with suppress(OSError):  # what was not flushed has no reader any more
                assert pipe
                pipe.close()


def main() -> None:
    """Runs in the keeper's process, and ends with its owner."""
    url, study, session, seconds, owner = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    beat = threading.Thread(target=_beat, args=(url, study, session, float(seconds), int(owner)), daemon=True)
    beat.start()
    _wait_for_end_of(int(owner))
    os._exit(0)  # at once, although a renewal may be waiting for the store: it must not be made for the dead


def _wait_for_end_of(owner: int) -> None:
    """Returns when the owner has ended, or says that it is done."""
    signs: list[int] = [0]
    with suppress(AttributeError, OSError):  # no Linux, an old one, or the owner has ended already
        signs.append(os.pidfd_open(owner))
    while os.getppid() == owner:
        told, _, _ = select.select(signs, [], [], LOOK_SECONDS)
        if told:
            return


def _beat(url: str, study: str, session: str, seconds: float, owner: int) -> None:
    try:
        _renew_for(owner, url, study, session, seconds)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # the owner starts another


def _renew_for(owner: int, url: str, study: str, session: str, seconds: float) -> NoReturn:
    """Renews while the owner gets on; what is stopped (SIGSTOP) lives, but would keep its trial for ever."""
    store = open_store(url, create=False)
    client, ended = Controller(store), False
    print(_READY, flush=True)
    due = time.monotonic() + seconds
    while True:
        time.sleep(min(LOOK_SECONDS, seconds))
        with suppress(StoreUnavailable, StudyNotFound):
            before, ended = ended, _is_ended(store, study)
            if ended and not before:
                # Given back for it, since it may report nothing for long: should it complete the trial, that still counts.
                client.release(study, [session])
                print(_CALLED_BACK, flush=True)
            if time.monotonic() >= due and not is_stopped(owner):
                client.renew(study, [session])
                due = time.monotonic() + seconds


def _is_ended(store: Store, study: str) -> bool:
    with store.snapshot(study) as records:
        return records.progress().state in (StudyState.STOPPED, StudyState.FAILED)
