"""Programs as processes: started, listened to, and ended together with all that they started."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import selectors
import signal
import subprocess
import termios
import time
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from broodline.errors import TrialFailed
from broodline.workers.trainers.process_tree import TOKEN, Family, adopt_orphans, birth, family, kill, reap_orphans

_CHUNK = 65536
_HANGING = 5.0  # seconds after which what SIGKILL did not end hangs in the kernel
_LOOK = 0.02  # seconds between two looks where the end of a process can't be waited for
_PAUSES = (0.001, 0.05)
_STARTED: set[int] = set()  # the programs of this process that have not been let go


class Process:
    """A program in a session of its own; when the `with` block is left, it and all of its descendants have ended.

    Left by an exception, the block asks the program to end (SIGTERM) and gives it time; left in peace, it only sweeps up.

    Args:
        grace: Seconds between asking the program to end and killing it.
        owner: Begins the token by which its descendants are known, so that those of one owner can be found. A program with an
            owner has its orphans adopted by this process, so that none can hide.
    """

    def __init__(self, *, grace: float, owner: str | None = None) -> None:
        self._grace, self._token = grace, f"{owner or ''}.{secrets.token_hex(8)}"
        self._adopts = owner is not None and adopt_orphans()
        self._born: int | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self._pidfd: int | None = None
        self._started = 0.0
        self._known: Family = {}
        self._unsent, self._sent = b"", 0
        self._closed = self._refused = False
        self._selector = selectors.DefaultSelector()

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
        except (OSError, ValueError) as error:
            raise TrialFailed(_why_not_started(command[0], cwd, error)) from error
        _STARTED.add(self._popen.pid)
        if self._adopts:
            self._born = birth(self._popen.pid)
        self._watch_end(self._popen.pid)

    @property
    def status(self) -> int:
        """The exit status of a program that has ended; below 0 the signal that killed it."""
        assert self._popen is not None
        return self._popen.wait()

    @property
    def output(self) -> int:
        """The descriptor of the pipe that its standard output is."""
        assert self._popen is not None
        assert self._popen.stdout is not None
        return self._popen.stdout.fileno()

    def listen(self, descriptor: int, hear: Callable[[bytes], None]) -> None:
        """Lets `wait` pass on what comes out of a pipe, and b"" when it was closed."""
        os.set_blocking(descriptor, False)
        self._selector.register(descriptor, selectors.EVENT_READ, partial(self._hear, descriptor, hear))

    def send(self, data: bytes) -> None:
        """Lets `wait` write to the program's standard input, as fast as it reads."""
        stdin = self._stdin()
        self._unsent, self._sent = data, len(data)
        os.set_blocking(stdin, False)
        self._selector.register(stdin, selectors.EVENT_WRITE, partial(self._write, stdin))

    @property
    def sending(self) -> bool:
        """True while the program has not read all that was sent."""
        return bool(self._unsent)

    @property
    def unread(self) -> bool:
        """True if the program has read nothing of what was sent last, as far as the system tells."""
        waiting = array("i", [0])
        fcntl.ioctl(self._stdin(), termios.FIONREAD, waiting)
        return self._refused or waiting[0] + len(self._unsent) >= self._sent

    def wait(self, seconds: float) -> bool:
        """Waits until the program has ended or there was something to hear, or so many seconds; True if it has ended."""
        for key, _ in self._selector.select(seconds if self._pidfd is not None else min(seconds, _LOOK)):
            key.data()
        return self.ended

    @property
    def ended(self) -> bool:
        """True once the program has ended, whatever its descendants do."""
        if self._popen is None or self._popen.returncode is not None:
            return True
        try:
            # Left unreaped, so that its number stays its own until its family is gone.
            return os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def drain(self) -> None:
        """Hears what has been said by now: a read takes as much as a pipe holds."""
        for key, _ in self._selector.select(0):
            key.data()

    def hang_up(self) -> None:
        """Closes the program's standard input, and gives it time to end."""
        if self._popen is not None and self._popen.stdin is not None:
            self._forget(self._stdin())
            self._popen.stdin.close()
            self.wait_for_end()

    def wait_for_end(self) -> None:
        """Gives the program time to end by itself."""
        self._wait_until(time.monotonic() + self._grace)

    def end(self) -> None:
        """Asks the program to end, waits, and kills what is left."""
        try:
            if not self._closed:
                self._ask_to_end()
        finally:
            self.close()

    def close(self) -> None:
        """Kills what is left of the program and its descendants, and hears what they said."""
        if self._closed:
            return
        self._closed = True
        try:
            try:
                self._kill()
            except BaseException:
                self._kill()  # a signal's handler raised in the midst of it
                raise
            self.drain()
        finally:
            self._release()

    def _ask_to_end(self) -> None:
        until = time.monotonic() + self._grace
        self._family()  # learnt before any of them is an orphan
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
        until = time.monotonic() + _HANGING
        pause = _PAUSES[0]
        while (members := self._family()) and time.monotonic() < until:
            kill(members)
            time.sleep(pause)
            pause = min(2 * pause, _PAUSES[1])
        self._wait_until(until)
        if self.ended and self._popen is not None:
            self._popen.wait()
            _STARTED.discard(self._popen.pid)
        self.reap()

    def reap(self) -> None:
        """Lets orphans of programs go that have ended by themselves."""
        if self._adopts:
            reap_orphans(_STARTED)

    def _family(self) -> Family:
        root = self._popen.pid if self._popen else None
        others = _STARTED - {root}
        self._known = family(root, self._token, started=self._started, known=self._known, born=self._born, others=others)
        return self._known

    def _groups(self) -> set[int]:
        return {kin.group for kin in self._family().values()}

    def _signal_group(self, number: int) -> None:
        if self._popen is None or self._popen.returncode is not None:
            return
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses where only the dead are left
            os.killpg(self._popen.pid, number)

    def _watch_end(self, pid: int) -> None:
        try:
            self._pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):
            return  # no Linux, an old one, or one in a sandbox
        self._selector.register(self._pidfd, selectors.EVENT_READ, _nothing)

    def _hear(self, descriptor: int, hear: Callable[[bytes], None]) -> None:
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            self._forget(descriptor)
        hear(data)

    def _write(self, stdin: int) -> None:
        try:
            self._unsent = self._unsent[os.write(stdin, self._unsent) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._unsent, self._refused = b"", True  # it is about to end, or it will be asked in vain
        if not self._unsent:
            self._forget(stdin)

    def _stdin(self) -> int:
        assert self._popen is not None
        assert self._popen.stdin is not None
        return self._popen.stdin.fileno()

    def _forget(self, descriptor: int) -> None:
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def _release(self) -> None:
        self._selector.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        for pipe in (self._popen.stdin, self._popen.stdout) if self._popen else ():
            if pipe is not None:
                pipe.close()


def ending(status: int) -> str:
    """How a program ended that did not end well, or should not have ended.

    >>> ending(3), ending(-9)
    ('exit status 3', 'killed by signal SIGKILL')
    """
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by signal {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def _why_not_started(program: str, cwd: Path, error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):
        return f"{program} can't be started: {error}"
    if not cwd.is_dir():
        return f"no such folder to run {program} in: {cwd}"
    if error.errno == errno.ENOENT and (cwd / program).exists():
        return f"{program} can't be started: there is no such interpreter as its first line names"
    if error.errno == errno.ENOENT:
        return f"no such program: {program}"
    return f"{program} can't be started: {error.strerror}"


def _nothing() -> None:
    pass
