"""Runs programs as processes: starts them, reads their output, and ends them together with all of their descendants."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from broodline.errors import TrialFailed
from broodline.workers.signals import handlers_deferred
from broodline.workers.trainers.pipes import Pipes
from broodline.workers.trainers.process_problems import why_not_started
from broodline.workers.trainers.process_tree import (
    HANGING_SECONDS,
    TOKEN,
    ProcessTree,
    adopt_orphans,
    descendants,
    kill,
    reap_orphans,
    start_time,
)

_LOOK = 0.02  # seconds between two looks, where a system can't signal the end of a process
_PAUSES = (0.001, 0.05)  # the shortest and the longest, between two looks at a process tree
_STARTED: set[int] = set()  # the programs of this process whose exit status was not collected yet


class Process:
    """A program in a session of its own; when the `with` block is left, it and all of its descendants have ended.

    Left by an exception, the block asks the program to end (SIGTERM) and gives it time. Left normally, it kills at once the
    descendants that the program left behind.

    Args:
        grace: Seconds between asking the program to end and killing it.
        owner: Begins the token of its descendants, so that those of one owner can be found. This process adopts the orphans of
            a program with an owner, so that none can hide.
    """

    def __init__(self, *, grace: float, owner: str | None = None) -> None:
        self._grace, self._token = grace, f"{owner or ''}.{secrets.token_hex(8)}"
        self._adopts = owner is not None and adopt_orphans()
        self._start: int | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self._pidfd: int | None = None
        self._started = 0.0
        self._known: ProcessTree = {}
        self._closed = self._status_is_lost = False
        self._pipes = Pipes()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self.end()

    def start(
        self,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        cwd: Path,
        stdin: int = subprocess.DEVNULL,
        stdout: int | IO[bytes],
        stderr: int | IO[bytes] = subprocess.STDOUT,
        pass_fds: Collection[int] = (),
    ) -> None:
        """Starts the program; the arguments are those of `subprocess.Popen`.

        Raises:
            TrialFailed: There is no such program, or it can't be started.
        """
        self._started = time.monotonic()
        try:
            with handlers_deferred():
                self._popen = subprocess.Popen(
                    command,
                    env={**environ, TOKEN: self._token},
                    cwd=cwd,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=tuple(pass_fds),
                    start_new_session=True,
                )
                _STARTED.add(self._popen.pid)
        except (OSError, ValueError) as error:
            raise TrialFailed(why_not_started(command[0], cwd, error)) from error
        if self._adopts:
            self._start = start_time(self._popen.pid)
        self._watch_end(self._popen.pid)

    @property
    def status(self) -> int:
        """The exit status of a program that has ended; below 0 the signal that killed it.

        Raises:
            TrialFailed: It is not known, so nothing shows that the program succeeded.
        """
        assert self._popen is not None
        if self._status_is_lost:
            raise TrialFailed("its exit status is lost: this process ignores SIGCHLD, or collects the status of all its children")
        return self._popen.wait()

    @property
    def output(self) -> int:
        """The descriptor of the pipe that its standard output is."""
        assert self._popen is not None
        assert self._popen.stdout is not None
        return self._popen.stdout.fileno()

    def listen(self, descriptor: int, receive: Callable[[bytes], None]) -> None:
        """Lets `wait` pass on the data that arrives on a pipe, and b"" when it was closed."""
        self._pipes.listen(descriptor, receive)

    def send(self, data: bytes) -> None:
        """Lets `wait` write to the program's standard input, as fast as it reads."""
        self._pipes.send(self._stdin(), data)

    @property
    def sending(self) -> bool:
        """True while a part of the data is still to be written to the program."""
        return self._pipes.sending

    @property
    def unread(self) -> bool:
        """True if the program has read nothing of the data that was sent last, as far as the system shows."""
        return self._pipes.unread(self._stdin())

    def wait(self, seconds: float) -> bool:
        """Waits until the program has ended or data has arrived, or so many seconds; True if it has ended."""
        self._pipes.wait(seconds if self._pidfd is not None else min(seconds, _LOOK))
        return self.ended

    @property
    def ended(self) -> bool:
        """True once the program has ended, even if its descendants run on."""
        if self._popen is None or self._popen.returncode is not None:
            return True
        try:
            # Its exit status is not collected, so that its number stays its own until its descendants have ended.
            return os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            self._status_is_lost = True  # `Popen` reports 0 in this case
            return True

    def drain(self) -> None:
        """Passes on the data that has arrived by now."""
        self._pipes.wait(0)

    def hang_up(self) -> None:
        """Closes the program's standard input, and gives it time to end."""
        if self._popen is not None and self._popen.stdin is not None:
            self._pipes.stop_watching(self._stdin())
            self._popen.stdin.close()
            self.wait_for_end()

    def wait_for_end(self) -> None:
        """Gives the program time to end by itself."""
        self._wait_until(time.monotonic() + self._grace)

    def end(self) -> None:
        """Asks the program to end, waits, and kills the processes that are left."""
        try:
            if not self._closed:
                self._ask_to_end()
        finally:
            self.close()

    def close(self) -> None:
        """Kills the program and its descendants, as far as they still run, and passes on their last output."""
        if self._closed:
            return
        self._closed = True
        try:
            try:
                self._kill()
            except BaseException:
                self._kill()  # a signal handler raised in the midst of it
                raise
            self.drain()
        finally:
            self._release()

    def _ask_to_end(self) -> None:
        until = time.monotonic() + self._grace
        self._descendants()  # remembered now, before any of them is an orphan
        self._signal_group(signal.SIGTERM)
        self._wait_until(until)
        # A shell that ended at once may have left behind, in its group, the program that is still saving.
        shortest, longest = _PAUSES
        while time.monotonic() < until and self._popen and self._popen.pid in self._groups():
            time.sleep(shortest)
            shortest = min(2 * shortest, longest)

    def _wait_until(self, until: float) -> None:
        while not self.ended and (left := until - time.monotonic()) > 0:
            self.wait(left)

    def _kill(self) -> None:
        self._signal_group(signal.SIGKILL)
        until = time.monotonic() + HANGING_SECONDS
        pause = _PAUSES[0]
        while (members := self._descendants()) and time.monotonic() < until:
            kill(members)
            time.sleep(pause)
            pause = min(2 * pause, _PAUSES[1])
        self._wait_until(until)
        if self.ended and self._popen is not None:
            self._popen.wait()
            _STARTED.discard(self._popen.pid)
        self.reap()

    def reap(self) -> None:
        """Collects the exit status of orphans that have ended by themselves."""
        if self._adopts:
            reap_orphans(_STARTED)

    def _descendants(self) -> ProcessTree:
        root = self._popen.pid if self._popen else None
        self._known = descendants(
            root, self._token, started=self._started, known=self._known, start=self._start, others=_STARTED - {root}
        )
        return self._known

    def _groups(self) -> set[int]:
        return {info.group for info in self._descendants().values()}

    def _signal_group(self, number: int) -> None:
        if self._popen is None or self._popen.returncode is not None:
            return
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses where only processes that have ended are left
            os.killpg(self._popen.pid, number)

    def _watch_end(self, pid: int) -> None:
        try:
            self._pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):
            return  # not Linux, an old one, or one in a sandbox
        self._pipes.watch(self._pidfd)

    def _stdin(self) -> int:
        assert self._popen is not None
        assert self._popen.stdin is not None
        return self._popen.stdin.fileno()

    def _release(self) -> None:
        self._pipes.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        for pipe in (self._popen.stdin, self._popen.stdout) if self._popen else ():
            if pipe is not None:
                pipe.close()
