"""Workers as processes of this machine, each for as long as the study: a function is imported once a worker."""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from broodline.controller.client import RENEWALS, Client, WorkerSession
from broodline.errors import StoreUnavailable, WorkerError
from broodline.workers.engines.worker_process import AT_WORK, CANNOT_WORK, READY, Job
from broodline.workers.liveness import is_stopped
from broodline.workers.trainers.process import ending
from broodline.workers.trainers.scratch import clear_after

# Numeric libraries take all cores for each process by default: W workers then wait for each other.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_HOME = str(Path(__file__).resolve().parents[3])
_START = f"import sys; sys.path.append({_HOME!r}); from broodline.workers.engines.worker_process import main; main()"
_FALSE_STARTS = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0  # seconds before a worker is replaced that died without having trained anything
_REMEMBERED = 40  # lines that a worker said, for the error that it may end with


@dataclass(kw_only=True)
class _Process:
    """A worker process, and what it was started as."""

    index: int
    identity: WorkerSession
    popen: subprocess.Popen[bytes]
    ready: bool = False
    at_work: bool = False
    tail: bytes = b""
    heard: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class LocalEngine:
    """Worker processes that this one starts, watches and replaces.

    Args:
        job: What they work on.
        client: Renews their leases, also while a trainer holds the interpreter; takes back what the dead held.
        name: The name of the worker at a place, counted from 0.
        devices: Handed out among the workers.
        threads: For numeric libraries, each worker.
        lease: Seconds that a lease lasts.
        say: Is told what workers have to say, in lines.
    """

    job: Job
    client: Client
    name: Callable[[int], str] = str
    devices: tuple[str, ...] = ()
    threads: int = 1
    lease: float = 30.0
    say: Callable[[str], None] = print
    _processes: dict[int, _Process] = field(default_factory=dict, init=False)
    _workers: int = field(default=0, init=False)
    _false_starts: int = field(default=0, init=False)
    _idle_deaths: int = field(default=0, init=False)
    _due: dict[int, float] = field(default_factory=dict, init=False)
    _renewed: float = field(default=0.0, init=False)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector, init=False)

    def start(self, workers: int) -> None:
        self._workers = workers
        self._renewed = time.monotonic()
        for index in range(workers):
            self._spawn(index)

    def alive(self) -> int:
        return len(self._processes) + len(self._due)

    def attend(self, seconds: float) -> None:
        self._listen(seconds)
        for process in list(self._processes.values()):
            if process.popen.poll() is not None:
                self._bury(process)
        for index in [index for index, at in self._due.items() if at <= time.monotonic()]:
            del self._due[index]
            self._spawn(index)
        if time.monotonic() - self._renewed >= self.lease / RENEWALS:
            self._renew()

    def stop(self, grace: float) -> None:
        self._due.clear()
        for process in self._processes.values():
            process.popen.send_signal(signal.SIGTERM)
        until = time.monotonic() + grace
        dead: list[str] = []
        while self._processes and time.monotonic() < until:
            self._listen(0.05)
            dead += self._reap()
        for process in self._processes.values():
            process.popen.kill()
            process.popen.wait()
        dead += self._reap()
        for session in dead:
            clear_after(session)  # what it had started would go on without it
        if dead:
            with contextlib.suppress(StoreUnavailable):  # the next run finds them dead, and tells
                self.client.release(self.job.study, dead)

    def _spawn(self, index: int) -> None:
        identity = WorkerSession(worker=self.name(index), session=uuid.uuid4().hex)
        devices = devices_of(self.devices, index, self._workers)
        popen = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(os.environ, self.threads, devices),
            process_group=0,  # Ctrl-C goes to us, and we decide
        )
        assert popen.stdin and popen.stdout
        message = pickle.dumps((sys.path, self.job, identity, devices))
        try:
            popen.stdin.write(len(message).to_bytes(8, "big") + message)
            popen.stdin.flush()
        except BrokenPipeError:
            pass  # it died at once: `attend` finds out and says what it printed
        os.set_blocking(popen.stdout.fileno(), False)
        process = _Process(index=index, identity=identity, popen=popen)
        self._processes[index] = process
        self._selector.register(popen.stdout, selectors.EVENT_READ, process)

    def _listen(self, seconds: float) -> None:
        """Passes on what workers say; returns early when one has something to say, or ends."""
        for key, _ in self._selector.select(seconds):
            self._hear(key.data)

    def _hear(self, process: _Process) -> None:
        assert process.popen.stdout
        while data := process.popen.stdout.read(65536):
            *lines, process.tail = (process.tail + data).split(b"\n")
            for line in lines:
                self._pass_on(process, line.decode(errors="replace"))
        if data == b"":
            self._selector.unregister(process.popen.stdout)
            process.popen.wait()

    def _pass_on(self, process: _Process, line: str) -> None:
        if not process.ready and line == READY:
            process.ready = True
        elif process.ready and not process.at_work and line == AT_WORK:
            process.at_work = True
            self._idle_deaths = 0
        elif not process.ready:
            process.heard.append(line)  # it may be on its way to an error: that is told once, whole
        elif line:
            process.heard = [*process.heard[-_REMEMBERED:], line]
            self.say(f"worker {process.identity.worker}: {line}")

    def _reap(self) -> list[str]:
        """Lets the workers go that have ended; returns the sessions of those that died."""
        ended = [process for process in self._processes.values() if process.popen.poll() is not None]
        for process in ended:
            self._forget(process)
        return [process.identity.session for process in ended if process.popen.returncode]

    def _bury(self, process: _Process) -> None:
        """Lets a worker go that has ended, and starts another in its place if it died."""
        status = process.popen.returncode
        self._forget(process)
        if status == 0:
            return
        clear_after(process.identity.session)  # what it had started would go on without it
        if status == CANNOT_WORK:
            raise WorkerError("workers can't work:\n" + "\n".join(process.heard))
        self._false_starts = 0 if process.ready else self._false_starts + 1
        if self._false_starts >= _FALSE_STARTS:
            told = "\n".join([ending(status), *process.heard[-20:]])
            raise WorkerError(f"{_FALSE_STARTS} workers in a row died while they started: {told}")
        self._give_up(process)
        self._replace(process, ending(status))

    def _replace(self, process: _Process, death: str) -> None:
        """Starts another worker in a place: at once, or after a pause if workers die again and again with nothing done."""
        if process.at_work:
            self.say(f"worker {process.identity.worker} died ({death}); its trial is given out again")
            self._spawn(process.index)
            return
        self._idle_deaths += 1
        pause = 0.0 if self._idle_deaths == 1 else min(_FIRST_PAUSE * 2 ** (self._idle_deaths - 2), _LONGEST_PAUSE)
        times = "" if self._idle_deaths == 1 else f"; that is {self._idle_deaths} in a row: the next starts in {pause:g} s"
        self.say(f"worker {process.identity.worker} died ({death}) before it had trained anything{times}")
        self._due[process.index] = time.monotonic() + pause

    def _give_up(self, process: _Process) -> None:
        # Should the store not answer, its successor asks under the same name: that tells as much.
        with contextlib.suppress(StoreUnavailable):
            self.client.release(self.job.study, [process.identity.session], lost=True)

    def _forget(self, process: _Process) -> None:
        del self._processes[process.index]
        assert process.popen.stdin and process.popen.stdout
        if process.popen.stdout in self._selector.get_map():
            self._hear(process)
        process.popen.stdout.close()
        process.popen.stdin.close()

    def _renew(self) -> None:
        self._renewed = time.monotonic()
        try:
            # A worker that is stopped (SIGSTOP) lives, and would keep its trial for ever: its lease is left to run out.
            moving = [process for process in self._processes.values() if not is_stopped(process.popen.pid)]
            self.client.renew(self.job.study, [process.identity.session for process in moving])
        except StoreUnavailable as error:
            self.say(f"the store does not answer: {error}")


def devices_of(devices: tuple[str, ...], index: int, workers: int) -> tuple[str, ...]:
    """The share of the worker at a place: several devices each, or several workers a device.

    >>> devices_of(("0", "1", "2", "3"), 1, 2)
    ('2', '3')
    >>> devices_of(("0", "1"), 3, 4)
    ('1',)
    """
    if not devices:
        return ()
    if workers >= len(devices):
        return (devices[index * len(devices) // workers],)
    each = len(devices) // workers
    return devices[index * each : (index + 1) * each]


def _environment(environ: Mapping[str, str], threads: int, devices: tuple[str, ...]) -> dict[str, str]:
    given = {name: str(threads) for name in THREAD_VARIABLES if name not in environ}
    visible = {"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices else {}
    return {**environ, **given, **visible}
