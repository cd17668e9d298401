"""Which processes descend from a program: those of its session, those that carry its token, and their children.

Linux only, where /proc shows them; elsewhere a program's process group is all that is known of its family.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from typing import NamedTuple

TOKEN = "BROODLINE_TOKEN"
_PROC = "/proc"
_DEAD = ("Z", "X")
_HANGING = 5.0  # seconds after which what SIGKILL did not end hangs in the kernel
_RECENT = 10.0  # seconds in which no machine uses up all process numbers


class _Stat(NamedTuple):
    parent: int
    group: int
    session: int


def family(root: int | None, token: str, *, started: float | None = None) -> dict[int, int]:
    """The living descendants of a program, itself included: process numbers, each with its process group.

    Args:
        root: The program's process, which leads a session; None if it is not known.
        token: The beginning of what the family carries in its environment as BROODLINE_TOKEN.
        started: When the program started, by the monotonic clock: older processes need not be looked at.
    """
    mark = f"{TOKEN}={token}".encode()
    stats = {pid: stat for pid in _candidates(root, started) if (stat := _stat(pid)) is not None}
    members = {pid for pid, stat in stats.items() if stat.session == root or mark in _environ(pid)}
    while children := {pid for pid, stat in stats.items() if stat.parent in members} - members:
        members |= children
    return {pid: stats[pid].group for pid in members}


def kill_all_of(owner: str) -> None:
    """Kills every program that a worker started and left behind, with its descendants.

    Args:
        owner: The session of the worker, which has died itself.
    """
    until = time.monotonic() + _HANGING
    while (members := family(None, f"{owner}.")) and time.monotonic() < until:
        kill(members)
        time.sleep(0.001)


def kill(pids: Iterable[int]) -> None:
    """Kills processes, some of which may have ended meanwhile."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # ended, or run by another user, whom it must answer to


def _candidates(root: int | None, started: float | None) -> list[int]:
    """The processes to look at: those of higher numbers than the root's, while numbers can't have begun anew."""
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


def _stat(pid: int) -> _Stat | None:
    """What is known of a living process; None if it has ended."""
    _, _, fields = _read(f"{pid}/stat").rpartition(b")")  # its name stands before, in brackets, and may hold anything
    state, *numbers = fields.decode().split()[:4] or [_DEAD[0]]
    return None if state in _DEAD else _Stat(*map(int, numbers))


def _environ(pid: int) -> bytes:
    return _read(f"{pid}/environ")


def _read(name: str) -> bytes:
    try:
        with open(f"{_PROC}/{name}", "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""  # it has ended, or is another user's
