"""Leases of devices: the workers of this machine see which devices other workers of the store use.

Theory of operation. Each worker that has devices is represented by a file that names them, in a directory of its study. The
engine of the worker holds the file locked: the engine replaces a worker that dies, and the successor gets the same devices. The
kernel releases the lock when the engine ends, even by SIGKILL, so the devices of a dead engine are free at once. No clean-up is
needed for that: the next process that looks for devices removes the files that no process holds.

To look and to choose is one step: it runs under a lock on the directory of the store's files. So two workers that join at once
choose different devices.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from broodline.storage.study_files import StudyFiles
from broodline.workers.device_choice import Choice, InUse
from broodline.workers.devices import devices_of
from broodline.workers.liveness import private_to_process

_UNKNOWN = "the devices of other workers are not known, and may be the same"

Choose = Callable[[tuple[str, ...], Sequence[InUse]], Choice]


class DeviceLeases:
    """The devices of an engine, which it deals out among its workers, and their leases.

    Attributes:
        devices: The devices.
        note: A line for the user; empty in the common case.
    """

    def __init__(self) -> None:
        self.devices: tuple[str, ...] = ()
        self.note = ""
        self._held: dict[int, ExitStack] = {}

    def use(self, choice: Choice) -> None:
        """Takes over a choice."""
        self.devices, self.note = choice.devices, choice.note

    def take(self, directory: Path, workers: int) -> None:
        """Takes a lease for each worker.

        Raises:
            OSError: A file can't be written.
        """
        for place in range(workers):
            life = self._held[place] = ExitStack()
            life.enter_context(_lease(directory, devices_of(self.devices, place, workers)))

    def free(self, place: int) -> None:
        """Frees the devices of a worker that has no successor."""
        if life := self._held.pop(place, None):
            life.close()

    def close(self) -> None:
        """Frees the devices of all workers."""
        for place in list(self._held):
            self.free(place)


@contextmanager
def leased(files: StudyFiles, devices: tuple[str, ...], choose: Choose, *, workers: int = 1) -> Iterator[DeviceLeases]:
    """Chooses devices and holds a lease for each worker while the block runs.

    Args:
        files: The files of the study, whose directory is there.
        devices: The devices to choose from.
        choose: Chooses, from these devices and those in use.
        workers: The number of workers.
    """
    leases = DeviceLeases()
    try:
        if devices:
            _choose(leases, files, devices, choose, workers)
        yield leases
    finally:
        leases.close()


def _choose(leases: DeviceLeases, files: StudyFiles, devices: tuple[str, ...], choose: Choose, workers: int) -> None:
    try:
        with _store_locked(files):
            leases.use(choose(devices, list(_in_use(files))))
            leases.take(files.devices, workers)
    except OSError as error:  # a full disk, a file of another user: training matters more than a lease
        leases.close()
        leases.use(choose(devices, []))
        leases.note = "; ".join(filter(None, (f"{_UNKNOWN}: {error}", leases.note)))


@contextmanager
def _store_locked(files: StudyFiles) -> Iterator[None]:
    """Holds a lock on the directory of the store's files, which all of its studies share."""
    descriptor = os.open(files.root.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _lease(directory: Path, devices: tuple[str, ...]) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / uuid.uuid4().hex
    with path.open("x") as file, private_to_process(file):
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            file.write(",".join(devices))
            file.flush()
            yield
        finally:
            with suppress(OSError):  # the directory may be away; a lease that no process holds does not count
                path.unlink(missing_ok=True)


def _in_use(files: StudyFiles) -> Iterator[InUse]:
    """The leases that a process holds; removes the others. The caller holds the lock of the store."""
    for path in sorted(files.root.parent.glob(f"*/{files.devices.name}/*")):
        with suppress(FileNotFoundError), path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                devices = tuple(filter(None, file.read().split(",")))
                yield InUse(devices=devices, of_this_study=path.parent == files.devices)
            else:
                with suppress(OSError):  # of another user: the file of a dead engine holds nothing, removed or not
                    path.unlink(missing_ok=True)
