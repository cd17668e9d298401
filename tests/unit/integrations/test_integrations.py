"""An integration whose framework is missing says which, and how to get it."""

import importlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("integration", "framework"), [("torch", "torch"), ("optax", "jax"), ("keras", "keras")])
def test_an_integration_without_its_framework_names_what_to_install(
    integration: str, framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, f"broodline.integrations.{integration}", raising=False)
    monkeypatch.setitem(sys.modules, framework, None)
    with pytest.raises(ModuleNotFoundError, match=rf"broodline\.integrations\.{integration} needs .*broodline\[{integration}\]"):
        importlib.import_module(f"broodline.integrations.{integration}")


def test_the_former_name_still_works_and_says_so() -> None:
    code = "import warnings; warnings.simplefilter('error', DeprecationWarning)\nimport broodline.adapters"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "broodline.adapters is now broodline.integrations" in done.stderr
    code = "from importlib.util import find_spec; import broodline.adapters; print(find_spec('broodline.adapters.torch').origin)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("integrations/torch.py")
