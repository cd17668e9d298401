"""Finds the accelerators of this machine without a framework: a few files, and `nvidia-smi` where it is installed.

The first vendor that has devices counts: a program uses those of one vendor.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

_SMI_SECONDS = 10.0  # a driver that nothing keeps loaded takes seconds to start
_LISTED = re.compile(r"\s*(GPU|MIG)\b.*\(UUID: ([^)]+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The devices of one vendor.

    Args:
        names: Their numbers or UUIDs.
        variables: The environment variables that restrict a process to some of them; none on a Mac.
    """

    names: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The places where devices are looked for.

    Args:
        root: The root of the file system.
        smi: The program that lists NVIDIA's devices.
        system: The operating system and the architecture.
        smi_seconds: The time that the program may take.
    """

    root: Path = Path("/")
    smi: str = "nvidia-smi"
    system: tuple[str, str] = field(default_factory=lambda: (sys.platform, platform.machine()))
    smi_seconds: float = _SMI_SECONDS


def detected(machine: Machine | None = None) -> Found:
    """The devices of the first vendor that has some here."""
    machine = machine or Machine()
    vendors = (
        (_nvidia, ("CUDA_VISIBLE_DEVICES",)),
        (_amd, ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")),  # HIP reads both; some programs look at the second alone
        (_intel, ("ZE_AFFINITY_MASK",)),
        (_apple, ()),
    )
    for names_of, variables in vendors:
        if names := names_of(machine):
            return Found(names=names, variables=variables)
    return Found()


def listed_by_smi(output: str) -> tuple[str, ...]:
    """The devices in the output of `nvidia-smi -L`: numbers, or UUIDs if a device is partitioned (MIG).

    >>> listed_by_smi("GPU 0: NVIDIA H100 (UUID: GPU-1a)")
    ('0',)
    """
    whole: list[str] = []
    parts: dict[str, list[str]] = {}
    for kind, uuid in (match.groups() for match in map(_LISTED.match, output.splitlines()) if match):
        if kind == "GPU":
            whole.append(uuid)
        elif whole:
            parts.setdefault(whole[-1], []).append(uuid)
    if not parts:
        return _numbered(len(whole))
    return tuple(name for uuid in whole for name in parts.get(uuid, [uuid]))


def _nvidia(machine: Machine) -> tuple[str, ...]:
    if program := shutil.which(machine.smi):
        try:
            done = subprocess.run(
                [program, "-L"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=machine.smi_seconds,
                check=True,
            )
            return listed_by_smi(done.stdout.decode(errors="replace"))
        except (OSError, subprocess.SubprocessError):
            pass  # the driver's files may still know
    # A container sees the files of the driver for all devices of its host, and a device node for each of its own.
    known = list((machine.root / "proc/driver/nvidia/gpus").glob("*"))
    nodes = list((machine.root / "dev").glob("nvidia[0-9]*"))
    return _numbered(min(len(known), len(nodes)))


def _amd(machine: Machine) -> tuple[str, ...]:
    nodes = (machine.root / "sys/class/kfd/kfd/topology/nodes").glob("*/properties")
    return _numbered(sum(_has_compute_units(node) for node in nodes))


def _has_compute_units(properties: Path) -> bool:
    """True for a GPU; a CPU is a node too. The properties of another job's device can't be read."""
    return re.search(r"^simd_count [1-9]", _content(properties), re.MULTILINE) is not None


def _intel(machine: Machine) -> tuple[str, ...]:
    cards = (path for path in (machine.root / "sys/class/drm").glob("card*") if re.fullmatch(r"card\d+", path.name))
    return _numbered(sum(_is_discrete_intel(card / "device") for card in cards))


def _is_discrete_intel(device: Path) -> bool:
    """The integrated device is on bus 0."""
    return _content(device / "vendor").strip() == "0x8086" and not device.resolve().name.startswith("0000:00:")


def _apple(machine: Machine) -> tuple[str, ...]:
    return ("0",) if machine.system == ("darwin", "arm64") else ()


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))
