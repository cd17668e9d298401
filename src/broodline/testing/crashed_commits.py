"""Commits of checkpoints in processes that die at each of their operations on the file system."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path

from broodline.core.trial import Trial
from broodline.storage.checkpoints.base import CheckpointStore

_OPERATIONS = ("open", "os.", "shutil.")
_MOST_POINTS = 500
_KILLED = 9

Opened = Callable[[Path], CheckpointStore]


def attempt(number: int = 12, attempt: int = 1) -> Trial:
    """A trial at which this attempt is made."""
    return Trial(number=number, member=0, generation=0, params={}, steps=1, attempt=attempt)


def save(store: CheckpointStore, trial: Trial, content: str = "weights") -> str:
    """Saves two files, one of them in a directory, and commits them."""
    write(store.begin(trial), content)
    return store.commit(trial)


def write(directory: Path, content: str) -> None:
    """Writes the two files of a checkpoint."""
    (directory / "deep").mkdir()
    (directory / "deep" / "weights").write_text(content)
    (directory / "optimizer").write_text(content)


def content_of(directory: Path) -> set[str]:
    """The contents of the files that `save` wrote: one if the checkpoint is whole."""
    return {(directory / name).read_text() for name in ("deep/weights", "optimizer")}


def crashed_everywhere(open_store: Opened, directory: Path) -> list[Path]:
    """Commits a checkpoint again and again, each time in a process that is killed one operation later.

    Args:
        open_store: Opens the store in a directory.
        directory: Each crash gets a directory in it.

    Returns:
        The directories, in the order of the crash points.
    """
    # The processes are forked from one that has no threads, since the parent's threads may hold locks.
    referee = multiprocessing.get_context("spawn").Process(target=_crash_everywhere, args=(open_store, directory))
    referee.start()
    referee.join()
    assert referee.exitcode == 0
    return sorted(directory.glob("crash-*"))


def _crash_everywhere(open_store: Opened, directory: Path) -> None:
    for point in range(_MOST_POINTS):
        child = os.fork()
        if child == 0:
            _commit_and_die(open_store, directory / f"crash-{point:03d}", point)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != _KILLED:
            break


def _commit_and_die(open_store: Opened, directory: Path, point: int) -> None:
    status = 1
    try:
        store = open_store(directory)
        store.prepare()
        save(store, attempt(1), "parent")
        _die_at(point, directory)
        save(store, attempt())
        store.close()
        status = 0
    finally:
        os._exit(status)


def _die_at(point: int, directory: Path) -> None:
    """Ends this process at the operation of that number, from now on, that names a file of the directory."""
    left = point

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if not event.startswith(_OPERATIONS) or not any(str(directory) in str(each) for each in arguments):
            return
        if left == 0:
            os._exit(_KILLED)
        left -= 1

    sys.addaudithook(watch)
