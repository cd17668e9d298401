"""The imports of the packages, read from the source files without running them."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "broodline"


@cache
def imports_of(path: Path) -> tuple[str, ...]:
    """The imports of a file when it runs, inside of functions too, as dotted names; `from a import b` counts as `a.b`."""
    return tuple(_imports_of(path))


def _imports_of(path: Path) -> Iterator[str]:
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue  # imported for types only: nothing runs
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        nodes.extend(ast.iter_child_nodes(node))


def imports(packages: Collection[str]) -> dict[str, set[str]]:
    """The packages that each of these packages imports when it runs, read from the source files."""
    found: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        here = path.relative_to(SOURCE).with_suffix("").parts[0]
        if here in packages:
            found.setdefault(here, set()).update(there for there in _packages_in(path) if there in packages and there != here)
    return found


def reduced(arrows: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that do not follow from others (the transitive reduction of a graph without circles)."""
    return {
        here: {there for there in direct if not any(there in _reachable(arrows, other) for other in direct - {there})}
        for here, direct in arrows.items()
    }


def _reachable(arrows: Mapping[str, set[str]], start: str) -> set[str]:
    return arrows[start].union(*(_reachable(arrows, there) for there in arrows[start]))


def _packages_in(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports_of(path) if name.startswith("broodline.")}
