"""Launches workers as processes of this machine, each for as long as the study: a function is imported once a worker."""

from __future__ import annotations

import os
import pickle
import selectors
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from broodline.errors import WorkerError
from broodline.workers.engines.launcher import Job, WorkerSpec
from broodline.workers.liveness import is_stopped
from broodline.workers.own_module import command_of
from broodline.workers.trainers.process_tree import TOKEN, worker_token
from broodline.workers.trainers.scratch import clear_after

# Numeric libraries take all cores for each process by default: W workers then wait for each other.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_CHUNK = 65536
_EXIT_SECONDS = 1.0  # between a process's last output and its exit


class LocalLauncher:
    """Starts worker processes.

    Args:
        job: Their work.
        cwd: The folder in which they run, and their programs with them.
        threads: For numeric libraries, each worker.
    """

    def __init__(self, *, job: Job, cwd: Path, threads: int = 1) -> None:
        self._job, self._cwd, self._threads = job, cwd, threads
        self._selector = selectors.DefaultSelector()

    def launch(self, spec: WorkerSpec) -> LocalHandle:
        try:
            popen = self._started(spec)
        except OSError as error:
            raise WorkerError(f"a worker process can't be started in {self._cwd}: {error}") from error
        assert popen.stdin and popen.stdout
        message = pickle.dumps((self._job, spec))
        with suppress(BrokenPipeError):  # it died at once: the supervision finds out, and shows what it printed
            popen.stdin.write(len(message).to_bytes(8, "big") + message)
            popen.stdin.flush()
        os.set_blocking(popen.stdout.fileno(), False)
        self._selector.register(popen.stdout, selectors.EVENT_READ)
        return LocalHandle(popen, spec.identity.session, self._selector)

    def _started(self, spec: WorkerSpec) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command_of("broodline.workers.engines.worker_process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._cwd,
            env=worker_environment(os.environ, self._threads) | {TOKEN: worker_token(spec.identity.session)},
            process_group=0,  # Ctrl-C reaches the engine alone, which decides
        )

    def wait(self, seconds: float) -> None:
        self._selector.select(seconds)

    def close(self) -> None:
        self._selector.close()


class LocalHandle:
    """A worker process.

    Args:
        popen: The process. Its standard input stays open for as long as its engine lives: its end makes the worker leave.
        session: The worker's session, by which its programs are found.
        selector: Watches its output.
    """

    def __init__(self, popen: subprocess.Popen[bytes], session: str, selector: selectors.BaseSelector) -> None:
        self._popen, self._session, self._selector = popen, session, selector
        self._unfinished, self._at_end = b"", False

    def poll(self) -> int | None:
        return self._popen.poll()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._popen.pid

    @property
    def is_stopped(self) -> bool:
        return is_stopped(self._popen.pid)

    def lines(self) -> list[str]:
        lines: list[bytes] = []
        with suppress(BlockingIOError):  # all is read that is there by now
            while not self._at_end:
                data = os.read(self._output.fileno(), _CHUNK)
                *complete, self._unfinished = (self._unfinished + data).split(b"\n")
                lines += complete
                if not data:
                    lines.append(self._unfinished)
                    self._end_output()
        return [line.decode(errors="replace") for line in lines]

    def stop(self) -> None:
        self._popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()

    def close(self) -> None:
        self._stop_watching()
        self._output.close()
        assert self._popen.stdin
        with suppress(BrokenPipeError):
            self._popen.stdin.close()
        clear_after(self._session)  # with exit status 0 too: a function may end its process at any point

    def _end_output(self) -> None:
        self._at_end = True
        self._stop_watching()
        with suppress(subprocess.TimeoutExpired):  # it may have closed its output and run on
            self._popen.wait(_EXIT_SECONDS)

    @property
    def _output(self) -> IO[bytes]:
        assert self._popen.stdout
        return self._popen.stdout

    def _stop_watching(self) -> None:
        if self._output in self._selector.get_map():
            self._selector.unregister(self._output)


def worker_environment(environ: Mapping[str, str], threads: int) -> dict[str, str]:
    """The environment of a worker; variables for numeric libraries that are set already are left alone: the user set them."""
    given = {name: str(threads) for name in THREAD_VARIABLES if name not in environ}
    return {**environ, **given}
