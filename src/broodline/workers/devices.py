"""The devices that the workers of a run may use, and the share of each worker.

Theory of operation. A process sees the devices that an environment variable of its vendor names. If this process inherited
such a variable, from a shell, a container or Slurm, its list is the set to hand out: other devices belong to other jobs.
Without one, all devices of the machine are handed out (`workers.device_detection`). Each worker gets the same variable, with
its own share as the value, so its programs can't use the devices of another worker.

On AMD two levels combine: `HIP_VISIBLE_DEVICES` (or `CUDA_VISIBLE_DEVICES`) selects among the devices that
`ROCR_VISIBLE_DEVICES` leaves. Only one of the levels is narrowed: the inner one where both are set.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from broodline.errors import UsageError
from broodline.workers.device_detection import Found, detected

_OUTER = "ROCR_VISIBLE_DEVICES"
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", _OUTER, "ZE_AFFINITY_MASK")
_DEFAULT = ("CUDA_VISIBLE_DEVICES",)
# CUDA ignores its list from the first invalid entry on; Slurm and containers write these words for "no device".
_ENDS = ("", "-1", "nodevfiles", "none", "void")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSet:
    """Devices to hand out.

    Args:
        names: Their numbers or UUIDs, as the variables spell them.
        variables: The environment variables that restrict a process to some of them.
        inherited: The variable that names them, and its value; empty if they are not inherited.
    """

    names: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    inherited: str = ""


NO_DEVICES = DeviceSet()


def devices_for(
    configured: tuple[str, ...] | None,
    *,
    environ: Mapping[str, str] | None = None,
    detect: Callable[[], Found] = detected,
) -> DeviceSet:
    """The devices that the workers of a run may use.

    Args:
        configured: The devices of the study file: members of the inherited set, or their positions in it. None: all devices.
            Empty: hand out none, and leave the variables as they are.
        environ: The environment of this process.
        detect: Finds the devices of this machine.

    Raises:
        UsageError: A device is not one of the inherited set.
    """
    if configured == ():
        return NO_DEVICES
    given = inherited_devices(os.environ if environ is None else environ)
    if given is not None:
        return given if configured is None else replace(given, names=_members(configured, given))
    found = detect()
    if configured is None:
        return DeviceSet(names=found.names, variables=found.variables)
    return DeviceSet(names=configured, variables=found.variables or _DEFAULT)


def inherited_devices(environ: Mapping[str, str]) -> DeviceSet | None:
    """The devices that the environment makes visible; None if it does not restrict them.

    >>> inherited_devices({"CUDA_VISIBLE_DEVICES": "5,6"}).names
    ('5', '6')
    """
    lists = {name: _listed(environ[name]) for name in _VARIABLES if name in environ}
    if not lists:
        return None
    first = next((name for name, names in lists.items() if names), next(iter(lists)))
    # Slurm may set the variables of all vendors to one list.
    same = tuple(name for name, names in lists.items() if name == first or (names == lists[first] and name != _OUTER))
    return DeviceSet(names=lists[first], variables=same, inherited=f"{first}={environ[first]}")


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


def variables_for(share: tuple[str, ...], variables: tuple[str, ...]) -> dict[str, str]:
    """The environment variables that show a process its share alone; none for an empty share, which restricts nothing.

    >>> variables_for(("5", "6"), ("CUDA_VISIBLE_DEVICES",))
    {'CUDA_VISIBLE_DEVICES': '5,6'}
    """
    return dict.fromkeys(variables, ",".join(share)) if share else {}


def sharing_note(devices: tuple[str, ...], workers: int) -> str:
    """One line about devices that are idle or shared; empty if each device has one worker.

    >>> sharing_note(("0", "1", "2"), 2)
    'device 2 is idle: each of 2 workers has 1 of 3 devices'
    >>> sharing_note(("5", "6"), 4)
    'devices 5, 6 are shared: 4 workers use 2 devices'
    """
    users = Counter(name for index in range(workers) for name in devices_of(devices, index, workers))
    idle = [name for name in devices if not users[name]]
    shared = [name for name in dict.fromkeys(devices) if users[name] > 1]
    if idle:
        return f"{devices_are(idle)} idle: each of {workers} workers has {len(devices) // workers} of {len(devices)} devices"
    return f"{devices_are(shared)} shared: {workers} workers use {_counted(len(devices))}" if shared else ""


def devices_are(names: Sequence[str]) -> str:
    """The subject of a sentence about devices, and its verb."""
    return f"device {names[0]} is" if len(names) == 1 else f"devices {', '.join(names)} are"


def _listed(value: str) -> tuple[str, ...]:
    names: list[str] = []
    for name in map(str.strip, value.split(",")):
        if name.lower() in _ENDS:
            break
        names.append(name)
    return tuple(names)


def _members(configured: tuple[str, ...], given: DeviceSet) -> tuple[str, ...]:
    """The configured devices as members of the inherited set: all of them are names, or all are positions."""
    if all(name in given.names for name in configured):
        return configured
    positions = {str(index): name for index, name in enumerate(given.names)}
    other = next((name for name in configured if name not in positions), None)
    if other is None:
        return tuple(positions[name] for name in configured)
    ways = f"name devices of this list, or their positions, 0 to {len(positions) - 1}" if positions else 'write devices = "none"'
    raise UsageError(f"device '{other}' is not one of those that are visible here: {given.inherited}\nhelp: {ways}")


def _counted(number: int) -> str:
    return "1 device" if number == 1 else f"{number} devices"
