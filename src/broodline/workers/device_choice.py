"""Chooses the devices of a run or of a worker that joins, from those that are visible and those that other workers use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from broodline.workers.devices import devices_are, sharing_note


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Devices, and a line for the user.

    Args:
        devices: The devices to use.
        note: States which devices are idle or shared; empty in the common case.
    """

    devices: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """A lease of a living process.

    Args:
        devices: The devices of one worker.
        of_this_study: False for a worker of another study in the store.
    """

    devices: tuple[str, ...]
    of_this_study: bool = False


def for_run(devices: tuple[str, ...], in_use: Sequence[InUse], *, workers: int) -> Choice:
    """The devices that a run deals out among its workers: the free ones; all of them if none is free.

    >>> for_run(("0", "1", "2"), [InUse(devices=("0",))], workers=2)
    Choice(devices=('1', '2'), note='device 0 is in use by other workers, so this run uses devices 1, 2')
    """
    taken, free = _taken_and_free(devices, in_use)
    used = free or devices
    if not taken:
        others = ""
    elif free:
        others = f"{devices_are(taken)} in use by other workers, so this run uses {_listed(free)}"
    else:
        others = f"{devices_are(taken)} shared with other workers: no device is free"
    return Choice(devices=used, note="; ".join(filter(None, (others, sharing_note(used, workers)))))


def for_worker(devices: tuple[str, ...], in_use: Sequence[InUse], *, workers: int) -> Choice:
    """The devices of a worker that joins: as many as each other worker of the study has, and free ones as long as there are any.

    Args:
        devices: The devices that it may use.
        in_use: The devices that living workers use.
        workers: W of the study, which counts if no worker of the study holds a device.

    >>> for_worker(("0", "1", "2"), [InUse(devices=("0",), of_this_study=True)], workers=1)
    Choice(devices=('1',), note='this worker uses device 1, which is free; choose others by --devices')
    """
    # A worker that is there shows how many devices a program gets: `run --workers` may have replaced W of the study file.
    each = min((len(lease.devices) for lease in in_use if lease.of_this_study), default=max(1, len(devices) // workers))
    taken, free = _taken_and_free(devices, in_use)
    if free:
        used = free[:each]
        is_free = "which is free" if len(used) == 1 else "which are free"
        return Choice(devices=used, note=f"this worker uses {_listed(used)}, {is_free}{_BY_OPTION}" if len(devices) > 1 else "")
    used = _least_used(taken, in_use)[:each]
    return Choice(
        devices=used, note=f"{devices_are(used)} shared with other workers: no device is free{_BY_OPTION}" if used else ""
    )


def as_named(devices: tuple[str, ...], in_use: Sequence[InUse]) -> Choice:
    """The devices that the user named for a worker, whether or not others use them.

    >>> as_named(("2",), [InUse(devices=("1", "2"))])
    Choice(devices=('2',), note='device 2 is shared with other workers')
    """
    taken, _ = _taken_and_free(devices, in_use)
    return Choice(devices=devices, note=f"{devices_are(taken)} shared with other workers" if taken else "")


_BY_OPTION = "; choose others by --devices"


def _taken_and_free(devices: tuple[str, ...], in_use: Sequence[InUse]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    held = {name for lease in in_use for name in lease.devices}
    return tuple(name for name in devices if name in held), tuple(name for name in devices if name not in held)


def _least_used(devices: tuple[str, ...], in_use: Sequence[InUse]) -> tuple[str, ...]:
    # The sort keeps the order of devices that are used equally often.
    return tuple(sorted(devices, key=lambda name: sum(name in lease.devices for lease in in_use)))


def _listed(devices: tuple[str, ...]) -> str:
    return f"device {devices[0]}" if len(devices) == 1 else f"devices {', '.join(devices)}"
