"""Who may import whom: the direction of the arrows, the purity of the ground floor, and what the command line loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import broodline

# A module imports from its own row and from the rows above it, never from those below.
ROWS = (
    ("errors",),
    (
        "core",
        "strategies",
        "config",
    ),
    ("storage",),
    ("controller",),
    ("workers",),
    (
        "adapters",
        "reports",
        "integrations",
        "adapters",
    ),
    (
        "studies",
        "cli",
        "simulation",
        "testing",
        "__main__",
        "__init__",
    ),
)
PURE = {"errors", "core", "strategies"}
IMPURE = {
    *("time", "datetime", "os", "pathlib", "shutil", "subprocess", "logging", "sqlite3", "threading", "socket"),
    *("random", "secrets", "uuid", "tempfile", "signal", "sqlalchemy", "rich", "numpy"),
}
# Implementations: named by the wiring, by the reader of plugins, and within their own package.
IMPLEMENTATIONS = (
    *("storage.sqlite.store", "workers.engines.local", "engines.local"),
    *("trainers.command", "trainers.function", "trainers.resident"),
    *("workers.trainers.command", "workers.trainers.function", "workers.trainers.resident"),
    *("strategies.initiator", "strategies.generational", "strategies.random_search", "strategies.continuation"),
    *("strategies.grid", "strategies.replay"),
)
WIRING = ("run", "replaying", "api", "check", "cli", "studies", "simulation", "testing")
REGISTRIES = ("strategies.registry", "storage.location", "stores")
HEAVY = ("sqlalchemy", "rich", "numpy", "matplotlib", "torch", "pandas", "jax", "optax", "keras", "optuna")

HOME = Path(broodline.__file__).parent
MODULES = {path: ".".join(path.relative_to(HOME).with_suffix("").parts) for path in sorted(HOME.rglob("*.py"))}


def imports_of(path: Path) -> Iterator[str]:
    """What a file imports when it runs, inside of functions too, as dotted names; `from a import b` counts as `a.b`."""
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        nodes.extend(ast.iter_child_nodes(node))


def own_imports(path: Path) -> set[str]:
    """The same, of broodline's own modules only, without the first part of their names."""
    return {name.removeprefix("broodline.") for name in imports_of(path) if name.startswith("broodline.")}


def row_of(module: str) -> int:
    return next(number for number, row in enumerate(ROWS) if module.partition(".")[0] in row)


def test_every_module_has_its_place_in_one_row() -> None:
    placed = [name for row in ROWS for name in row]
    assert {module.partition(".")[0] for module in MODULES.values()} - set(placed) == set()
    assert len(placed) == len(set(placed))


@pytest.mark.parametrize("path", MODULES, ids=MODULES.get)
def test_imports_go_leftwards_only(path: Path) -> None:
    here = row_of(MODULES[path])
    names = {name for name in own_imports(path) if name.partition(".")[0] in {part for row in ROWS for part in row}}
    assert {name for name in names if row_of(name) > here} == set()


@pytest.mark.parametrize("path", [path for path, name in MODULES.items() if name.partition(".")[0] in PURE], ids=MODULES.get)
def test_what_decides_is_pure(path: Path) -> None:
    found = {name for name in imports_of(path) if name.partition(".")[0] in IMPURE}
    assert found - {"random.Random"} == set()


@pytest.mark.parametrize("path", MODULES, ids=MODULES.get)
def test_only_the_wiring_names_implementations(path: Path) -> None:
    package = MODULES[path].partition(".")[0]
    if package in WIRING or MODULES[path] in REGISTRIES:
        return
    named = {name for name in own_imports(path) for each in IMPLEMENTATIONS if name == each or name.startswith(f"{each}.")}
    assert {name for name in named if name.partition(".")[0] != package} == set()


def loaded_by(code: str) -> set[str]:
    """The modules that are there after a new interpreter has run some code."""
    told = f"{code}\nimport sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_the_probe_sees_what_is_loaded() -> None:
    assert loaded_by("import json.decoder") >= {"json", "sys"}


@pytest.mark.parametrize(
    "code",
    [
        "import broodline",
        "import broodline; broodline.Budget, broodline.Float, broodline.Stopped, broodline.trials",
        "import broodline; broodline.Schedule, broodline.load_schedule",
        "from broodline.cli import parser; parser().format_help()",
    ],
)
def test_importing_broodline_loads_nothing_heavy(code: str) -> None:
    assert loaded_by(code) & set(HEAVY) == set()


def test_help_loads_nothing_heavy() -> None:
    code = """
from broodline.cli import main
for words in (["--help"], ["run", "--help"], ["best", "--help"]):
    try:
        main(words)
    except SystemExit:
        pass
"""
    assert loaded_by(code) & set(HEAVY) == set()
