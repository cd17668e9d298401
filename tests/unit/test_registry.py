"""Plug-ins are found by name among the entry points of installed packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from broodline.errors import UsageError
from broodline.registry import Registry
from broodline.strategies.initiator import Initiator

STRATEGIES = Registry("broodline.strategies", "strategy")


def test_an_implementation_of_ours_is_loaded_by_its_name() -> None:
    assert STRATEGIES.load("initiator") is Initiator


def test_an_unknown_name_lists_what_is_installed() -> None:
    with pytest.raises(UsageError, match=r"unknown strategy 'iniator'; installed: .*initiator"):
        STRATEGIES.load("iniator")


def test_an_entry_point_of_another_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "someones-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: someones\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[broodline.strategies]\nsomeones = someones_strategy:Strategy\n")
    (tmp_path / "someones_strategy.py").write_text("class Strategy: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert STRATEGIES.load("someones").__module__ == "someones_strategy"
    assert "someones" in STRATEGIES.names()
