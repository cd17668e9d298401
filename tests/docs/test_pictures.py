"""The committed pictures show the code as it is: its packages, their imports, and the functions of the loop."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from importlib import import_module
from pathlib import Path

import pytest
from tools.draw_structure import PACKAGES, STAGES, Stage, house, loop
from tools.package_graph import SOURCE, imports, reduced

DOCS = Path(__file__).parents[2] / "docs"


def test_the_committed_house_is_what_the_code_draws_today() -> None:
    assert (DOCS / "house.svg").read_text(encoding="utf-8") == house(), "run `make pictures`"


def test_the_committed_loop_is_what_the_command_draws_today() -> None:
    assert (DOCS / "loop.svg").read_text(encoding="utf-8") == loop(), "run `make pictures`"


def test_every_package_is_in_the_house() -> None:
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages <= PACKAGES.keys()
    drawn = {element.text for element in ElementTree.fromstring(house()).iter("{http://www.w3.org/2000/svg}text")}
    assert packages <= drawn


def test_the_imports_are_those_of_the_code() -> None:
    found = imports(PACKAGES)
    assert "studies" in found["cli"]
    assert "core" in found["strategies"]
    assert found["errors"] == set()
    assert all(here not in there for here, there in found.items())


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    assert reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_stage_of_the_loop_names_a_function_that_exists(stage: Stage) -> None:
    module, name = stage.function
    owner, method = name.split(".")
    assert callable(getattr(getattr(import_module(f"broodline.{module}"), owner), method))
