"""An adapter whose framework is missing says which, and how to get it."""

import importlib
import sys

import pytest


@pytest.mark.parametrize(("adapter", "framework"), [("torch", "torch"), ("optax", "jax"), ("keras", "keras")])
def test_an_adapter_without_its_framework_names_what_to_install(
    adapter: str, framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, f"broodline.adapters.{adapter}", raising=False)
    monkeypatch.setitem(sys.modules, framework, None)
    with pytest.raises(ModuleNotFoundError, match=rf"broodline\.adapters\.{adapter} needs .*broodline\[{adapter}\]"):
        importlib.import_module(f"broodline.adapters.{adapter}")
