"""docs/structure.md describes the code that is there: each path exists, and each package has its row."""

from __future__ import annotations

import re
from pathlib import Path

import broodline

HOME = Path(broodline.__file__).parent
PAGE = (Path(__file__).parents[2] / "docs" / "structure.md").read_text(encoding="utf-8")
PATH = re.compile(r"`((?:[a-z_]+/)*[a-z_]+(?:/|\.py))`")


def test_each_path_exists() -> None:
    paths = [path for path in PATH.findall(PAGE) if not path.startswith("tests/")]
    assert len(paths) > 30
    assert [path for path in paths if not (HOME / path).exists()] == []


def test_each_package_has_its_row() -> None:
    packages = {f"{path.parent.name}/" for path in HOME.glob("*/__init__.py")}
    described = re.findall(r"^\| `([a-z_]+/)` \|", PAGE, flags=re.MULTILINE)
    assert set(described) == packages
    assert len(described) == len(packages)


def test_the_order_of_imports_is_the_one_that_is_checked() -> None:
    source = (Path(__file__).parents[1] / "unit" / "test_imports.py").read_text(encoding="utf-8")
    layers = re.search(r"^LAYERS = \((.*?)^\)", source, flags=re.MULTILINE | re.DOTALL)
    assert layers is not None
    line = next(line for line in PAGE.splitlines() if line.startswith("`cli -> "))
    assert re.findall(r"[a-z]+", line) == re.findall(r'"([a-z]+)"', layers[1])
