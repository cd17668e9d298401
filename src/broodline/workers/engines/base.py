"""Supervises the workers of a study, wherever they run.

Theory of operation. An engine keeps a fixed number of *places*, and in each at most one worker. A worker passes through
these states, which it announces by messages (`engines.messages`)::

    launched -> ready -> at work -> finished -> ended

* A worker that finished found the study done, because the controller reported it, or left because the engine asked it to. Its
  place stays empty, whatever its exit status is: a thread that a function left may spoil that.
* A worker that ends without this message has died, even with exit status 0: a library may call `os._exit(0)` in the middle of
  a trial, and where SIGCHLD is ignored every exit status reads as 0. Its trial is released as lost, and its place gets another
  worker under the same name in a new session. After work was done this happens at once. Deaths without any work done would
  repeat for ever (a driver that is missing, no memory left), so pauses between them grow, and after three false starts in a
  row the engine gives up (`engines.deaths`).
* A worker that cannot work at all (exit status `CANNOT_WORK`) stands for all of them: the engine gives up at once.

The engine renews the leases of its workers, because a trainer may hold a worker's interpreter for longer than a lease. A
worker that is stopped (SIGSTOP) lives, but would keep its trial for ever: its lease is left to run out.

Where and how a worker is started is left to a `Launcher`. Nothing here knows of processes, hosts or queues.
"""

from __future__ import annotations

import logging
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from broodline.controller.client import RENEWALS, Client, WorkerSession, session_of_host
from broodline.errors import StoreUnavailable, WorkerError
from broodline.workers.devices import devices_of, variables_for
from broodline.workers.engines.deaths import FALSE_STARTS, DeathsInARow
from broodline.workers.engines.launcher import CANNOT_WORK, Handle, Launcher, WorkerSpec
from broodline.workers.engines.messages import Event, decoded
from broodline.workers.log import log_again
from broodline.workers.trainers.process_problems import ending

_LINES_KEPT = 40  # of each worker, for the error that it may end with
_LINES_SHOWN = 20
_STOP_LOOK = 0.05

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Worker:
    """A worker that was launched, and what it has announced."""

    spec: WorkerSpec
    handle: Handle
    ready: bool = False
    at_work: bool = False
    finished: bool = False
    problem: str = ""
    printed: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES_KEPT))


@dataclass(kw_only=True)
class Engine:
    """Workers that are started, watched, replaced and stopped.

    Args:
        launcher: Starts them.
        client: Renews their leases, and releases the trials of those that died.
        study: The study's name.
        name: The name of the worker at a place, counted from 0.
        devices: Dealt out among the workers.
        visibility: The environment variables that show a worker its share of the devices.
        lease: Seconds that a lease lasts.
        vacated: Called with a place whose worker has finished: its devices are free.
    """

    launcher: Launcher
    client: Client
    study: str
    name: Callable[[int], str] = str
    devices: tuple[str, ...] = ()
    visibility: tuple[str, ...] = ()
    lease: float = 30.0
    vacated: Callable[[int], None] = lambda _place: None
    _workers: dict[int, _Worker] = field(default_factory=dict, init=False)
    _places: int = field(default=0, init=False)
    _deaths: DeathsInARow = field(default_factory=DeathsInARow, init=False)
    _due: dict[int, float] = field(default_factory=dict, init=False)
    _renewed: float = field(default=0.0, init=False)
    _stopping: bool = field(default=False, init=False)

    def start(self, workers: int) -> None:
        """Starts so many workers."""
        self._places = workers
        self._renewed = time.monotonic()
        for index in range(workers):
            self._launch(index)

    def alive(self) -> int:
        """The number of workers that have not ended, or are about to be replaced."""
        return len(self._workers) + len(self._due)

    def attend(self, seconds: float) -> None:
        """Logs the records of workers, replaces those that died and renews leases; takes about so many seconds.

        Raises:
            WorkerError: Workers can't be started, or can't work.
        """
        self.launcher.wait(seconds)
        for worker in list(self._workers.values()):
            self._listen(worker)
            status = worker.handle.poll()
            if status is not None:
                self._after_end(worker, status)
        for index in [index for index, at in self._due.items() if at <= time.monotonic()]:
            del self._due[index]
            self._launch(index)
        if time.monotonic() - self._renewed >= self.lease / RENEWALS:
            self._renew()

    def stop(self, grace: float) -> None:
        """Ends all workers: asks them, so that they give their trials back, and kills those that still run after the grace.

        Args:
            grace: Seconds.
        """
        self._due.clear()
        self._stopping = True
        for worker in self._workers.values():
            worker.handle.stop()
        until = time.monotonic() + grace
        dead: list[str] = []
        while self._workers and time.monotonic() < until:
            self.launcher.wait(_STOP_LOOK)
            dead += self._collect_ended()
        for worker in self._workers.values():
            worker.handle.kill()
        dead += self._collect_ended()
        self.launcher.close()
        if dead:
            with suppress(StoreUnavailable):  # the next run finds them dead, and releases their trials
                self.client.release(self.study, dead)

    def _launch(self, index: int) -> None:
        identity = WorkerSession(worker=self.name(index), session=session_of_host(socket.gethostname(), uuid.uuid4().hex))
        share = devices_of(self.devices, index, self._places)
        visible = variables_for(share, self.visibility)
        spec = WorkerSpec(index=index, identity=identity, devices=share, variables=visible)
        self._workers[index] = _Worker(spec=spec, handle=self.launcher.launch(spec))

    def _listen(self, worker: _Worker) -> None:
        for line in filter(None, worker.handle.lines()):
            message = decoded(line)
            if message is None:
                self._keep(worker, line)
            elif message.event is Event.READY:
                worker.ready = True
            elif message.event is Event.AT_WORK:
                worker.at_work = True
                self._deaths = self._deaths.after_work_began()
            elif message.event is Event.FINISHED:
                worker.finished = message.fields["done"] or self._stopping
            elif message.event is Event.CANNOT_WORK:
                worker.problem = message.fields["problem"]
            else:
                log_again(message.fields)

    def _keep(self, worker: _Worker, line: str) -> None:
        """Keeps a line that is not a message; it is logged once the worker is ready: before, it may belong to an error."""
        worker.printed.append(line)
        if worker.ready:
            self._warn(worker, f"worker {worker.spec.identity.worker}: {line}", logging.INFO)

    def _after_end(self, worker: _Worker, status: int) -> None:
        """Lets a worker go that has ended, and has another started in its place if it died."""
        self._forget(worker)
        if worker.finished:
            self.vacated(worker.spec.index)
            return
        if worker.problem or status == CANNOT_WORK:
            raise WorkerError("workers can't work:\n" + (worker.problem or "\n".join(worker.printed)))
        self._deaths = self._deaths.and_one(ready=worker.ready, at_work=worker.at_work)
        if self._deaths.hopeless:
            shown = "\n".join([ending(status), *list(worker.printed)[-_LINES_SHOWN:]])
            raise WorkerError(f"{FALSE_STARTS} workers in a row died while they started: {shown}")
        # Should the store not answer, the successor asks under the same name in another session: that releases the trial too.
        with suppress(StoreUnavailable):
            self.client.release(self.study, [worker.spec.identity.session], lost=True)
        self._replace(worker, ending(status) if status else "exit status 0, before the study was done")

    def _replace(self, worker: _Worker, death: str) -> None:
        died = f"worker {worker.spec.identity.worker} died ({death})"
        if worker.at_work:
            self._warn(worker, f"{died}; its trial is given out again")
            self._launch(worker.spec.index)
            return
        idle, pause = self._deaths.idle, self._deaths.pause
        times = "" if idle == 1 else f"; that is {idle} in a row: the next starts in {pause:g} s"
        self._warn(worker, f"{died} before it had trained anything{times}")
        self._due[worker.spec.index] = time.monotonic() + pause

    def _collect_ended(self) -> list[str]:
        """Lets the workers go that have ended; returns the sessions of those that died."""
        ended = [(worker, worker.handle.poll()) for worker in self._workers.values()]
        for worker, status in ended:
            if status is not None:
                self._forget(worker)
        return [worker.spec.identity.session for worker, status in ended if status is not None and not worker.finished]

    def _forget(self, worker: _Worker) -> None:
        del self._workers[worker.spec.index]
        self._listen(worker)  # all of its output is there, now that it has ended
        worker.handle.close()

    def _renew(self) -> None:
        self._renewed = time.monotonic()
        running = [worker.spec.identity.session for worker in self._workers.values() if not worker.handle.is_stopped]
        try:
            self.client.renew(self.study, running)
        except StoreUnavailable as error:
            _log.warning("the store does not answer: %s", error, extra={"study": self.study, "worker": None, "trial": None})

    def _warn(self, worker: _Worker, message: str, level: int = logging.WARNING) -> None:
        _log.log(level, message, extra={"study": self.study, "worker": worker.spec.identity.worker, "trial": None})
