"""Devices are found by the files and the programs of their drivers."""

from __future__ import annotations

from pathlib import Path

import pytest

from broodline.workers.device_detection import Found, Machine, detected, listed_by_smi

WHOLE = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-11)\nGPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-22)\n"
PARTS = (
    "GPU 0: NVIDIA A100 (UUID: GPU-11)\n"
    "  MIG 3g.20gb     Device  0: (UUID: MIG-aa)\n"
    "  MIG 3g.20gb     Device  1: (UUID: MIG-bb)\n"
    "GPU 1: NVIDIA A100 (UUID: GPU-22)\n"
)
LINUX = ("linux", "x86_64")


def machine(root: Path, *, smi: str | None = None, system: tuple[str, str] = LINUX, smi_seconds: float = 60) -> Machine:
    """A machine below a directory; `smi` is the shell script that lists its NVIDIA devices."""
    program = root / "nvidia-smi"
    if smi is not None:
        program.write_text(f"#!/bin/sh\n{smi}\n")
        program.chmod(0o755)
    return Machine(root=root, smi=str(program), system=system, smi_seconds=smi_seconds)


def write(path: Path, content: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def driver_files(root: Path, *, known: int, nodes: int) -> None:
    for number in range(known):
        write(root / f"proc/driver/nvidia/gpus/0000:{number:02}:00.0/information")
    for number in range(nodes):
        write(root / f"dev/nvidia{number}")
    write(root / "dev/nvidiactl")
    write(root / "dev/nvidia-uvm")


def kfd_node(root: Path, number: int, *, units: int) -> None:
    write(root / f"sys/class/kfd/kfd/topology/nodes/{number}/properties", f"cpu_cores_count 0\nsimd_count {units}\n")


def card(root: Path, number: int, *, vendor: str, address: str) -> None:
    device = root / "sys/devices/pci" / address
    write(device / "vendor", f"{vendor}\n")
    drm = root / "sys/class/drm"
    (drm / f"card{number}").mkdir(parents=True)
    (drm / f"card{number}" / "device").symlink_to(device)
    (drm / f"card{number}-DP-1").mkdir()


def test_a_machine_without_accelerators_has_none(tmp_path: Path) -> None:
    assert detected(machine(tmp_path)) == Found()


@pytest.mark.parametrize(
    ("output", "names"), [(WHOLE, ("0", "1")), (PARTS, ("MIG-aa", "MIG-bb", "GPU-22")), ("No devices found.\n", ()), ("", ())]
)
def test_nvidia_smi_lists_devices_and_their_parts(output: str, names: tuple[str, ...]) -> None:
    assert listed_by_smi(output) == names


def test_nvidia_smi_is_asked_first(tmp_path: Path) -> None:
    driver_files(tmp_path, known=8, nodes=8)
    here = machine(tmp_path, smi=f"[ \"$*\" = -L ] && cat <<'X'\n{WHOLE}X")
    assert detected(here) == Found(names=("0", "1"), variables=("CUDA_VISIBLE_DEVICES",))


@pytest.mark.parametrize("smi", [None, "exit 9"])
def test_the_files_of_the_driver_count_where_nvidia_smi_does_not_answer(tmp_path: Path, smi: str | None) -> None:
    driver_files(tmp_path, known=4, nodes=4)
    assert detected(machine(tmp_path, smi=smi)).names == ("0", "1", "2", "3")


def test_an_nvidia_smi_that_hangs_is_given_up(tmp_path: Path) -> None:
    driver_files(tmp_path, known=1, nodes=1)
    assert detected(machine(tmp_path, smi="exec sleep 600", smi_seconds=0.2)).names == ("0",)


def test_a_container_has_the_devices_of_its_own_nodes(tmp_path: Path) -> None:
    driver_files(tmp_path, known=8, nodes=2)
    assert detected(machine(tmp_path)).names == ("0", "1")


def test_amd_nodes_with_compute_units_are_devices(tmp_path: Path) -> None:
    for number, units in enumerate([0, 304, 304]):
        kfd_node(tmp_path, number, units=units)
    assert detected(machine(tmp_path)) == Found(names=("0", "1"), variables=("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"))


def test_an_amd_node_that_can_not_be_read_is_no_device(tmp_path: Path) -> None:
    kfd_node(tmp_path, 0, units=304)
    (tmp_path / "sys/class/kfd/kfd/topology/nodes/1/properties").mkdir(parents=True)
    assert detected(machine(tmp_path)).names == ("0",)


def test_only_discrete_intel_cards_are_devices(tmp_path: Path) -> None:
    card(tmp_path, 0, vendor="0x8086", address="0000:00:02.0")
    card(tmp_path, 1, vendor="0x8086", address="0000:4d:00.0")
    card(tmp_path, 2, vendor="0x1a03", address="0000:05:00.0")
    assert detected(machine(tmp_path)) == Found(names=("0",), variables=("ZE_AFFINITY_MASK",))


def test_a_mac_has_one_device_and_no_variable(tmp_path: Path) -> None:
    assert detected(machine(tmp_path, system=("darwin", "arm64"))) == Found(names=("0",))
    assert detected(machine(tmp_path, system=("darwin", "x86_64"))) == Found()


def test_the_first_vendor_with_devices_counts(tmp_path: Path) -> None:
    driver_files(tmp_path, known=1, nodes=1)
    kfd_node(tmp_path, 0, units=8)
    assert detected(machine(tmp_path)).variables == ("CUDA_VISIBLE_DEVICES",)
