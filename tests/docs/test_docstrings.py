"""Docstrings describe arguments that exist: each name under `Args:` is a parameter, or a field of the class."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for folder in ("src", "examples", "tools", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
_SECTION = re.compile(r"^( *)Args:\n((?:\1 +.*\n|\n)+)", re.MULTILINE)

Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def described(docstring: str) -> list[str]:
    """The names under `Args:`; a line such as `low, high: ...` describes two."""
    found = _SECTION.search(docstring + "\n")
    if found is None:
        return []
    entry = re.compile(rf"^{found[1]}    (\*{{0,2}}\w+(?:, \*{{0,2}}\w+)*): ", re.MULTILINE)
    return [name.lstrip("*") for names in entry.findall(found[2]) for name in names.split(", ")]


def names_of(node: Documented) -> set[str]:
    """The parameters of a function; of a class its fields, and the parameters of its `__init__`."""
    if isinstance(node, ast.ClassDef):
        fields = {each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)}
        starts = (each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__")
        return fields.union(*map(names_of, starts))
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {argument.arg for argument in every if argument is not None}


def mistakes(code: str) -> Iterator[str]:
    """Each described name that does not exist, after the name of its class or function."""
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, Documented)]
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    for node in nodes:
        known = names_of(node)
        if isinstance(node, ast.ClassDef):  # the fields of base classes in the same file are its own
            bases = (classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes)
            known = known.union(*map(names_of, bases))
        for name in described(ast.get_docstring(node) or ""):
            if name not in known:
                yield f"{node.name}: {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_described_argument_exists(path: Path) -> None:
    assert list(mistakes(path.read_text(encoding="utf-8"))) == []


def test_an_argument_that_is_gone_is_found() -> None:
    code = '''
class Use:
    """A use.

    Args:
        first, second: Numbers.
        third: Gone.
    """

    first: int
    second: int

def f(here, *, there):
    """Does it.

    Args:
        here: One.
            note: not an argument, but a deeper line.
        there, nowhere: Two.

    Raises:
        KeyError: never.
    """
'''
    assert list(mistakes(code)) == ["Use: third", "f: nowhere"]
