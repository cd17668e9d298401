"""Which processes descend from a program: those of its session or with its token, orphans that became ours, and their children.

An orphan, whatever it did to hide, becomes a child of the process that started the program, if that has asked for it
(`adopt_orphans`).

Linux only, where /proc shows them; elsewhere a program's process group is all that is known of its family.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import NamedTuple

TOKEN = "BROODLINE_TOKEN"
_PROC = "/proc"
_DEAD = (b"Z", b"X")
_HANGING = 5.0  # seconds after which what SIGKILL did not end hangs in the kernel
_PR_SET_CHILD_SUBREAPER = 36
_RECENT = 10.0  # seconds in which no machine uses up all process numbers


class Kin(NamedTuple):
    """A process: its parent, process group and session by number, and when it was born, in ticks of the kernel.

    A dead one has ended, and its parent has not looked yet.
    """

    parent: int
    group: int
    session: int
    born: int
    dead: bool = False


Family = Mapping[int, Kin]


def family(
    root: int | None,
    token: str,
    *,
    started: float | None = None,
    known: Family | None = None,
    born: int | None = None,
    others: Collection[int] = (),
) -> dict[int, Kin]:
    """The living descendants of a program, itself included, by process number.

    Args:
        root: The program's process, which leads a session; None if it is not known.
        token: The beginning of what the family carries in its environment as BROODLINE_TOKEN.
        started: When the program started, by the monotonic clock: older processes need not be looked at.
        known: Who belonged to it before.
        born: When the program was, where its orphans are adopted: those that are younger and nobody else's are its.
        others: The other programs that this process has started.
    """
    mark, known = f"{TOKEN}={token}".encode(), known or {}
    living = {pid: kin for pid in _candidates(root, started) if (kin := _kin(pid)) is not None and not kin.dead}
    members = {pid for pid, kin in living.items() if kin.session == root or mark in _environ(pid)}
    members |= {pid for pid in known if pid in living and living[pid].born == known[pid].born}
    if born is not None:
        foreign = {os.getsid(0), *others}
        adopted = {pid for pid, kin in living.items() if kin.parent == os.getpid() and kin.session not in foreign}
        members |= {pid for pid in adopted if living[pid].born >= born and TOKEN.encode() not in _environ(pid)}
    while children := {pid for pid, kin in living.items() if kin.parent in members} - members:
        members |= children
    return {pid: living[pid] for pid in members}


@cache
def adopt_orphans() -> bool:
    """Makes orphans among the descendants of this process its children; False where the system can't.

    They would be those of process 1 otherwise, and one that left its session and cleared its environment could not be told
    from any other process.
    """
    try:
        return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def reap_orphans(started: Collection[int]) -> None:
    """Lets adopted orphans go that have ended.

    Args:
        started: The programs that this process started itself, and looks after itself.
    """
    ours, own = os.getpid(), os.getsid(0)
    for pid in _all():
        kin = _kin(pid)
        if kin is not None and kin.dead and kin.parent == ours and kin.session != own and pid not in started:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def birth(pid: int) -> int | None:
    """When a process was born, in ticks of the kernel; None if there is none of that number."""
    kin = _kin(pid)
    return None if kin is None else kin.born


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
        with suppress(ProcessLookupError, PermissionError):  # ended, or another user's, whom it must answer to
            os.kill(pid, signal.SIGKILL)


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


def _kin(pid: int) -> Kin | None:
    """What is known of a process; None if there is none of that number."""
    _, _, told = _read(f"{pid}/stat").rpartition(b")")  # its name stands before, in brackets, and may hold anything
    fields = told.split()
    if not fields:
        return None
    parent, group, session = map(int, fields[1:4])
    return Kin(parent, group, session, born=int(fields[19]), dead=fields[0] in _DEAD)


def _environ(pid: int) -> bytes:
    return _read(f"{pid}/environ")


def _read(name: str) -> bytes:
    try:
        with open(f"{_PROC}/{name}", "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""  # it has ended, or is another user's
