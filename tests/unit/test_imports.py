"""Who may import whom: the direction of the arrows, the purity of the ground floor, and what the command line loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tools.package_graph import imports_of

import broodline

# A package imports from those to its right only.
LAYERS = (
    *("cli", "simulation", "testing", "studies", "integrations", "workers", "service", "controller"),
    *("reports", "config", "strategies", "storage", "core", "registry", "errors"),
)
PEERS = (
    ("simulation", "testing"),
    ("studies", "integrations"),
    ("workers", "service"),
    ("controller", "reports"),
    ("strategies", "storage"),
)
ENTRANCES = ("__init__", "__main__", "adapters")  # what a user imports or runs; nothing inside imports them
PURE = ("errors", "core", "strategies")
IMPURE = {
    *("time", "datetime", "os", "pathlib", "shutil", "subprocess", "logging", "sqlite3", "threading", "socket"),
    *("random", "secrets", "uuid", "tempfile", "signal", "sqlalchemy", "rich", "numpy"),
}
# Concrete implementations are named by the wiring, by the registries and within their own package.
IMPLEMENTATIONS = (
    *("storage.sql", "storage.sqlite", "storage.postgres", "storage.checkpoints.local"),
    *("workers.engines.local", "workers.trainers.command", "workers.trainers.function", "workers.trainers.resident"),
    *(
        f"strategies.{name}"
        for name in ("initiator", "generational", "random_search", "continuation", "grid", "optuna", "replay")
    ),
)
WIRING = ("cli", "studies", "simulation", "testing")
REGISTRIES = ("strategies.registry",)
MOST_FOLDERS = 13
HEAVY = (
    *("sqlalchemy", "psycopg", "alembic", "rich", "numpy", "matplotlib", "torch", "pandas", "jax", "optax", "keras", "optuna"),
    *("fastapi", "uvicorn", "pydantic"),
)

HOME = Path(broodline.__file__).parent
MODULES = {path: ".".join(path.relative_to(HOME).with_suffix("").parts) for path in sorted(HOME.rglob("*.py"))}


def own_imports(path: Path) -> set[str]:
    """The imports of broodline's own modules only, without the first part of their names."""
    return {name.removeprefix("broodline.") for name in imports_of(path) if name.startswith("broodline.")}


def package_of(module: str) -> str:
    return module.partition(".")[0]


def may_import(here: str, there: str) -> bool:
    """True if `there` stands to the right of `here`; two packages at the same height don't know each other."""
    return LAYERS.index(there) > LAYERS.index(here) and (here, there) not in PEERS


def test_every_package_has_one_place() -> None:
    assert {package_of(module) for module in MODULES.values()} <= {*LAYERS, *ENTRANCES}
    assert len(LAYERS) == len(set(LAYERS))


def test_the_top_of_the_package_is_short() -> None:
    folders = sorted(path.parent.name for path in HOME.glob("*/__init__.py"))
    assert len(folders) <= MOST_FOLDERS
    assert {path.stem for path in HOME.glob("*.py")} == {*ENTRANCES, "registry", "errors"}


@pytest.mark.parametrize("path", MODULES, ids=MODULES.get)
def test_imports_go_to_the_right_only(path: Path) -> None:
    here = package_of(MODULES[path])
    if here in ENTRANCES:
        return
    others = {name for name in own_imports(path) if package_of(name) != here}
    assert {name for name in others if package_of(name) not in LAYERS and name != "__version__"} == set()
    assert {name for name in others if package_of(name) in LAYERS and not may_import(here, package_of(name))} == set()


def test_no_module_imports_itself_in_a_circle() -> None:
    arrows = {MODULES[path]: {home for name in own_imports(path) if (home := module_of(name))} for path in MODULES}
    done: set[str] = set()
    while ready := {module for module in arrows.keys() - done if arrows[module] - {module} <= done}:
        done |= ready
    assert arrows.keys() - done == set()


def module_of(name: str) -> str | None:
    """The module that an imported name lies in: `core.trial.Trial` in `core.trial`."""
    known = set(MODULES.values())
    while name and name not in known:
        name = f"{name}.__init__" if f"{name}.__init__" in known else name.rpartition(".")[0]
    return name or None


@pytest.mark.parametrize("path", [path for path, name in MODULES.items() if package_of(name) in PURE], ids=MODULES.get)
def test_decisions_are_pure(path: Path) -> None:
    found = {name for name in imports_of(path) if package_of(name) in IMPURE}
    assert found - {"random.Random"} == set()


@pytest.mark.parametrize("path", MODULES, ids=MODULES.get)
def test_only_the_wiring_names_implementations(path: Path) -> None:
    package = package_of(MODULES[path])
    if package in WIRING or MODULES[path] in REGISTRIES:
        return
    named = {name for name in own_imports(path) for each in IMPLEMENTATIONS if name == each or name.startswith(f"{each}.")}
    assert {name for name in named if package_of(name) != package} == set()


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
