"""The setup of a Python function: its devices."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from broodline.errors import UsageError
from broodline.studies.trainer import setup_for


@pytest.mark.parametrize(
    ("devices", "names"),
    [(None, None), ("none", ()), ([], ()), ([2, 3], ("2", "3")), (("GPU-8f1c",), ("GPU-8f1c",))],
)
def test_devices_of_a_function(devices: Sequence[str | int] | None, names: tuple[str, ...] | None) -> None:
    assert setup_for(print, devices=devices).engine.devices == names


@pytest.mark.parametrize("devices", ["0,1", "01", "", "all"])
def test_a_string_is_not_read_as_a_list_of_its_characters(devices: str) -> None:
    with pytest.raises(UsageError, match="devices must be a list, such as"):
        setup_for(print, devices=devices)
