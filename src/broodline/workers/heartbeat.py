"""Renews the lease of a program that is its own worker, from a small process that lives exactly as long.

Theory of operation. A thread of the program would stand still while training holds the interpreter, for example in one long
call of a C extension. So a heartbeat process renews the lease:

* It is started as a new program, not forked. It has none of its owner's memory, locks, devices or open files, and a session
  of its own: a terminal's Ctrl-C reaches the owner alone.
* It ends when the pipe from its owner is closed, or when the owner has ended, however that was. (A "parent death signal" comes
  when the *thread* ends that started the process: that proves nothing about the owner.) It then exits at once, since a renewal
  that waits for the store must not be made for a dead owner.
* It does not renew while its owner is stopped (SIGSTOP, a debugger): a stopped program would keep its trial for ever.
* It watches the study. When the running trials are called back (`broodline stop --now`), it releases the owner's trial and
  prints a line; the owner learns of it at its next `trial.report`. Should the owner complete the trial before that, and no
  other worker have it, the completion counts.
* When it dies, its owner starts another.
"""

from __future__ import annotations

import os
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
from functools import lru_cache
from types import TracebackType
from typing import NoReturn, Self

from broodline.config.study import study_from
from broodline.controller.access import client_of
from broodline.controller.client import RENEWALS
from broodline.core.population import StudyState
from broodline.errors import StoreUnavailable, StudyNotFound, WorkerError
from broodline.storage.base import Records
from broodline.storage.location import open_store
from broodline.workers.liveness import is_stopped
from broodline.workers.log import WorkerLog
from broodline.workers.own_module import command_of, wait_for_end_of
from broodline.workers.signals import keep_exit_statuses

LOOK_SECONDS = 1.0
_GRACE = 5.0
_LINES_KEPT = 20
_READY, _CALLED_BACK = "ready", "called back"


@dataclass(kw_only=True)
class HeartbeatProcess:
    """A context in which another process renews a session's leases; that process is started again should it die.

    Args:
        store: The store's URL.
        study: The study's name.
        session: The session that holds the leases.
        seconds: Between two renewals.
        called_back: Is called, from another thread, when the study calls its running trials back.
        log: The worker's log.

    Raises:
        WorkerError: The process can't be started.
    """

    store: str = field(repr=False)
    study: str
    session: str
    seconds: float
    called_back: Callable[[], None]
    log: WorkerLog
    _popen: subprocess.Popen[str] = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)  # over `_popen`
    _over: threading.Event = field(default_factory=threading.Event, init=False)

    def __enter__(self) -> Self:
        self._popen = self._started()
        self._thread = threading.Thread(target=self._listen, name="broodline heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
        with self._lock:
            self._over.set()
            assert self._popen.stdin
            with suppress(OSError):  # a line, since a process that was forked from the program may hold the pipe open too
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
        arguments = (self.study, self.session, str(self.seconds), str(os.getpid()))
        try:
            popen = subprocess.Popen(
                command_of("broodline.workers.heartbeat", *arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
                bufsize=1,
            )
        except OSError as error:
            raise WorkerError(f"the heartbeat process can't be started: {error}") from error
        assert popen.stdin
        assert popen.stdout
        with suppress(OSError):  # it died; its output has the reason
            popen.stdin.write(f"{self.store}\n")
        printed: deque[str] = deque(maxlen=_LINES_KEPT)
        for line in popen.stdout:
            if line.rstrip() == _READY:
                return popen
            printed.append(line)
        popen.wait()
        popen.stdin.close()
        popen.stdout.close()
        raise WorkerError("the heartbeat process died while it started: " + "".join(printed))

    def _listen(self) -> None:
        while not self._over.is_set():
            assert self._popen.stdout
            for line in self._popen.stdout:
                if line.rstrip() == _CALLED_BACK:
                    self.called_back()
            with self._lock:
                if not self._over.is_set():
                    self._replace()
            self._over.wait(LOOK_SECONDS)

    def _replace(self) -> None:
        """Starts another process in the place of one that died; if that fails, it is tried again later."""
        former = self._popen
        try:
            self._popen = self._started()
        except WorkerError as error:
            self.log.warning(str(error))
            return
        former.wait()
        for pipe in (former.stdin, former.stdout):
            with suppress(OSError):  # unflushed data has no reader any more
                assert pipe
                pipe.close()


def main() -> None:
    """Runs in the heartbeat process, and ends with its owner."""
    study, session, seconds, owner = sys.argv[1:]
    url = _line_of_input()  # no argument: a URL may hold a password, and every user can read the arguments of a process
    keep_exit_statuses()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    beat = threading.Thread(target=_beat, args=(url, study, session, float(seconds), int(owner)), daemon=True)
    beat.start()
    wait_for_end_of(int(owner))
    os._exit(0)  # at once: the other thread may be waiting for the store, to renew the lease of an owner that is dead


def _line_of_input() -> str:
    """A line of standard input, and nothing of what follows: the end of that is the end of the owner."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line.decode().rstrip("\n")


def _beat(url: str, study: str, session: str, seconds: float, owner: int) -> None:
    try:
        _renew_for(owner, url, study, session, seconds)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # the owner starts another


def _renew_for(owner: int, url: str, study: str, session: str, seconds: float) -> NoReturn:
    """Renews the leases while the owner runs, and releases them once when the study calls its trials back."""
    store = open_store(url, create=False)
    client, ended = client_of(store), False
    print(_READY, flush=True)
    renewed = time.monotonic()
    while True:
        time.sleep(min(LOOK_SECONDS, seconds))
        with suppress(StoreUnavailable, StudyNotFound):
            before = ended
            ended, seconds = _looked_at(store, study)  # a resumed run may have shortened the leases
            if ended and not before:
                client.release(study, [session])
                print(_CALLED_BACK, flush=True)
            if time.monotonic() >= renewed + seconds and not is_stopped(owner):
                client.renew(study, [session])
                renewed = time.monotonic()


def _looked_at(store: Records, study: str) -> tuple[bool, float]:
    """Whether the study has ended, and the seconds between two renewals as it defines them now."""
    with store.snapshot(study) as records:
        ended = records.progress().state in (StudyState.STOPPED, StudyState.FAILED)
        return ended, _renewal_seconds(records.definition())


@lru_cache(maxsize=1)
def _renewal_seconds(definition: str) -> float:
    """The seconds between two renewals; cached, since a definition that holds a long lineage takes time to parse."""
    return study_from(definition).limits.lease / RENEWALS
