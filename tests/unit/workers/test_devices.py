"""The devices that are handed out: those that were inherited, those of the study file, or those of the machine."""

from __future__ import annotations

import pytest

from broodline.errors import UsageError
from broodline.workers.device_detection import Found
from broodline.workers.devices import DeviceSet, devices_for, devices_of, inherited_devices, sharing_note

CUDA, HIP, ROCR, ZE = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"
FOUND = Found(names=("0", "1"), variables=(ZE,))


def found() -> Found:
    return FOUND


def never() -> Found:
    raise AssertionError("looked for devices though they are known")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("5,6", ("5", "6")),
        (" 5 , 6 ", ("5", "6")),
        ("GPU-8f1c,MIG-77d0", ("GPU-8f1c", "MIG-77d0")),
        ("0.0,0.1", ("0.0", "0.1")),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("2,-1,3", ("2",)),
    ],
)
@pytest.mark.parametrize("variable", [CUDA, HIP, ROCR, ZE])
def test_inherited_devices_are_the_set(variable: str, value: str, names: tuple[str, ...]) -> None:
    given = devices_for(None, environ={variable: value}, detect=never)
    assert (given.names, given.variables) == (names, (variable,))


def test_no_variable_restricts_nothing() -> None:
    assert inherited_devices({"HOME": "/home"}) is None


@pytest.mark.parametrize(
    ("environ", "names", "variables"),
    [
        ({CUDA: "2,3", ZE: "2,3"}, ("2", "3"), (CUDA, ZE)),
        ({CUDA: "2,3", ZE: "0"}, ("2", "3"), (CUDA,)),
        ({CUDA: "", ZE: "0"}, ("0",), (ZE,)),
        ({CUDA: "0,1", HIP: "0,1", ROCR: "0,1"}, ("0", "1"), (CUDA, HIP)),
        ({HIP: "0,1", ROCR: "4,5"}, ("0", "1"), (HIP,)),
    ],
)
def test_several_variables(environ: dict[str, str], names: tuple[str, ...], variables: tuple[str, ...]) -> None:
    given = devices_for(None, environ=environ, detect=never)
    assert (given.names, given.variables) == (names, variables)


@pytest.mark.parametrize(
    ("configured", "inherited", "names"),
    [
        (("0", "1"), "5,6", ("5", "6")),
        (("1",), "5,6", ("6",)),
        (("6",), "5,6", ("6",)),
        (("1", "2"), "1,2", ("1", "2")),
        (("0", "1"), "1,2", ("1", "2")),  # not 1 twice: positions, because 0 is no member
        (("MIG-b",), "MIG-a,MIG-b", ("MIG-b",)),
        (("0",), "MIG-a,MIG-b", ("MIG-a",)),
    ],
)
def test_configured_devices_are_members_of_the_inherited_set(
    configured: tuple[str, ...], inherited: str, names: tuple[str, ...]
) -> None:
    given = devices_for(configured, environ={CUDA: inherited}, detect=never)
    assert (given.names, given.variables) == (names, (CUDA,))


@pytest.mark.parametrize(
    ("configured", "inherited", "device", "help_"),
    [
        (("7",), "5,6", "7", "positions, 0 to 1"),
        (("0", "2"), "5,6", "2", "positions, 0 to 1"),
        (("5", "0"), "5,6", "5", "positions, 0 to 1"),
        (("GPU-x",), "5,6", "GPU-x", "positions, 0 to 1"),
        (("0",), "", "0", 'devices = "none"'),
    ],
)
def test_a_device_outside_of_the_inherited_set_is_an_error(
    configured: tuple[str, ...], inherited: str, device: str, help_: str
) -> None:
    with pytest.raises(UsageError) as refused:
        devices_for(configured, environ={CUDA: inherited}, detect=never)
    problem, hint = str(refused.value).splitlines()
    assert problem == f"device '{device}' is not one of those that are visible here: {CUDA}={inherited}"
    assert help_ in hint


def test_without_an_inherited_set_the_devices_of_the_machine_are_handed_out() -> None:
    assert devices_for(None, environ={}, detect=found) == DeviceSet(names=("0", "1"), variables=(ZE,))


def test_configured_devices_take_the_variable_of_the_vendor_that_is_here() -> None:
    assert devices_for(("1",), environ={}, detect=found) == DeviceSet(names=("1",), variables=(ZE,))
    assert devices_for(("1",), environ={}, detect=Found) == DeviceSet(names=("1",), variables=(CUDA,))


@pytest.mark.parametrize("environ", [{}, {CUDA: "5,6"}])
def test_none_hands_out_nothing_and_looks_for_nothing(environ: dict[str, str]) -> None:
    assert devices_for((), environ=environ, detect=never) == DeviceSet()


EIGHT = tuple(map(str, range(8)))


@pytest.mark.parametrize(
    ("devices", "workers", "note"),
    [
        (EIGHT, 8, ""),
        (EIGHT, 2, ""),
        (EIGHT, 3, "devices 6, 7 are idle: each of 3 workers has 2 of 8 devices"),
        (("5", "6"), 3, "device 5 is shared: 3 workers use 2 devices"),
        (("0",), 4, "device 0 is shared: 4 workers use 1 device"),
        ((), 4, ""),
    ],
)
def test_one_line_names_idle_or_shared_devices(devices: tuple[str, ...], workers: int, note: str) -> None:
    assert sharing_note(devices, workers) == note


@pytest.mark.parametrize("workers", range(1, 12))
@pytest.mark.parametrize("count", range(1, 9))
def test_every_worker_has_a_device_and_none_is_shared_while_there_are_enough(count: int, workers: int) -> None:
    shares = [devices_of(EIGHT[:count], index, workers) for index in range(workers)]
    dealt = [name for share in shares for name in share]
    assert all(shares)
    assert len(dealt) == len(set(dealt)) or workers > count
    assert workers < count or set(dealt) == set(EIGHT[:count])
