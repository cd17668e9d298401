"""Finds and ends the processes that descend from a program.

Theory of operation. A program may start others: data loaders, a launcher's ranks, a daemon. All of them must have ended before
a checkpoint is committed, or one could still write to it. No single mark finds them all, since a process may change its
session, clear its environment, or lose its parent. So a process belongs to a program if any of these holds:

1. its session is the one that the program was started in;
2. its environment holds the program's token (`BROODLINE_PROCESS`), which children inherit;
3. it belonged to the program at an earlier look (the same number *and* the same start time: numbers are used again);
4. it is an orphan that this process adopted, is younger than the program, is in no session of another program of ours, and
   carries no token. Every orphan becomes a child of the nearest ancestor that asked the kernel for it
   (`adopt_orphans`);
5. its parent belongs to the program.

A tree is ended by looking and killing until a look finds nothing: a process may start another between a look and its end.
A process that SIGKILL does not end hangs in the kernel; after some seconds it is given up.

The token begins with the worker's session, and the worker process carries it too. So the programs of a worker that was killed,
and the helpers that its Python function forked, are found by another process. The exception is an orphan with a new session and
an empty environment: nothing connects that to its worker any more.

Linux only, where /proc shows processes; elsewhere only a program's process group is known.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import NamedTuple

TOKEN = "BROODLINE_PROCESS"
HANGING_SECONDS = 5.0  # after which a process that SIGKILL did not end hangs in the kernel
_PROC = "/proc"
_DEAD = (b"Z", b"X")
_PR_SET_CHILD_SUBREAPER = 36
_RECENT = 10.0  # seconds in which no machine uses up all process numbers


class ProcessInfo(NamedTuple):
    """A process: its parent, process group and session by number, and its start time, in ticks of the kernel.

    A dead one has ended, and its parent has not collected its exit status yet.
    """

    parent: int
    group: int
    session: int
    start: int
    dead: bool = False


ProcessTree = Mapping[int, ProcessInfo]


def descendants(
    root: int | None,
    token: str,
    *,
    started: float | None = None,
    known: ProcessTree | None = None,
    start: int | None = None,
    others: Collection[int] = (),
) -> dict[int, ProcessInfo]:
    """The living descendants of a program, itself included, by process number.

    Args:
        root: The program's process, which leads a session; None if it is not known.
        token: The beginning of the token that they carry in their environment.
        started: When the program started, by the monotonic clock: older processes need not be looked at.
        known: Its descendants at an earlier look.
        start: The program's start time, if this process adopts its orphans.
        others: The other programs that this process has started.
    """
    mark, known = f"{TOKEN}={token}".encode(), known or {}
    living = {pid: info for pid in _candidates(root, started) if (info := _info(pid)) is not None and not info.dead}
    members = {pid for pid, info in living.items() if info.session == root or mark in _environ(pid)}
    members |= {pid for pid in known if pid in living and living[pid].start == known[pid].start}
    if start is not None:
        members |= _adopted(living, start, {os.getsid(0), *others})
    while children := {pid for pid, info in living.items() if info.parent in members} - members:
        members |= children
    return {pid: living[pid] for pid in members}


def children() -> list[int]:
    """The living children of this process, adopted ones included."""
    infos = {pid: info for pid in _all() if (info := _info(pid)) is not None}
    return [pid for pid, info in infos.items() if info.parent == os.getpid() and not info.dead]


@cache
def adopt_orphans() -> bool:
    """Makes orphans among the descendants of this process its children; False where the system can't.

    Otherwise process 1 gets them, and one that left its session and cleared its environment would look like any other
    process.
    """
    try:
        import ctypes  # takes longer to load than all else here

        return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def reap_orphans(started: Collection[int]) -> None:
    """Collects the exit status of adopted orphans that have ended, which frees their numbers.

    Args:
        started: The programs that this process started itself, and collects elsewhere.
    """
    ours, own = os.getpid(), os.getsid(0)
    for pid in _all():
        info = _info(pid)
        if info is not None and info.dead and info.parent == ours and info.session != own and pid not in started:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def start_time(pid: int) -> int | None:
    """When a process started, in ticks of the kernel; None if no process has that number."""
    info = _info(pid)
    return None if info is None else info.start


def worker_token(owner: str) -> str:
    """The token of a worker process itself, which the processes inherit that its Python function forks.

    Args:
        owner: The session of the worker.
    """
    return f"{owner}.worker"


def kill_all_of(owner: str) -> None:
    """Kills every process that a worker started and left behind, with its descendants; the calling process is spared.

    Args:
        owner: The session of the worker, which has died itself, or ends now and calls this.
    """
    until = time.monotonic() + HANGING_SECONDS
    while (members := descendants(None, f"{owner}.").keys() - {os.getpid()}) and time.monotonic() < until:
        kill(members)
        time.sleep(0.001)


def kill(pids: Iterable[int]) -> None:
    """Kills processes; it does not matter if some of them have ended by now."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):  # it has ended, or runs as another user by now
            os.kill(pid, signal.SIGKILL)


def _adopted(living: ProcessTree, start: int, foreign: Collection[int]) -> set[int]:
    """The orphans that this process adopted since a program started, and that no other program's session or token claims."""
    adopted = {pid for pid, info in living.items() if info.parent == os.getpid() and info.session not in foreign}
    return {pid for pid in adopted if living[pid].start >= start and TOKEN.encode() not in _environ(pid)}


def _candidates(root: int | None, started: float | None) -> list[int]:
    """The processes to look at: only those of higher numbers than the root's, unless numbers may have started over."""
    newest = _newest()
    if root is None or started is None or time.monotonic() - started > _RECENT or newest < root:
        return _all()
    return [root] if newest == root else [pid for pid in _all() if pid >= root]


def _all() -> list[int]:
    try:
        return [int(name) for name in os.listdir(_PROC) if name.isdigit()]
    except OSError:
        return []


def _newest() -> int:
    """The number of the process that was started last."""
    return int((_read("loadavg") or b"0").split()[-1])


def _info(pid: int) -> ProcessInfo | None:
    """A process as /proc shows it; None if no process has that number."""
    # The process's name comes first, in brackets, and may hold anything, brackets and spaces too.
    _, _, stat = _read(f"{pid}/stat").rpartition(b")")
    fields = stat.split()
    if not fields:
        return None
    parent, group, session = map(int, fields[1:4])
    return ProcessInfo(parent, group, session, start=int(fields[19]), dead=fields[0] in _DEAD)


def _environ(pid: int) -> bytes:
    return _read(f"{pid}/environ")


def _read(name: str) -> bytes:
    try:
        with open(f"{_PROC}/{name}", "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""  # it has ended, or is another user's
