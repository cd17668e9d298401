"""The pages are true: their study files can be read, their code compiles, their links have targets."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from commands import ENVIRONMENT, lines_of_json, output

from broodline.cli import COMMANDS
from broodline.config.study_file import read

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FRAME = """
name = "page"
trial_steps = 1
population = 4
[objective]
loss = "minimize"
[space]
lr = { float = [0.0, 1.0] }
"""
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@by_page
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


@by_page
def test_python_compiles(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")


@pytest.mark.timeout(900)
def test_the_example_of_a_simulation_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    page, names = ROOT / "docs" / "simulation.md", dict[str, object]()
    printed = re.findall(r"^It prints\n\n```\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for code, text in zip(blocks(page, "python"), printed, strict=True):
        exec(compile(code, page.name, "exec"), names)
        assert capsys.readouterr().out == text


# test_contributing.py follows that page: its study files need what it installs.
@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "contributing.md"], ids=lambda page: page.name)
def test_study_files_can_be_read(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(page, "toml")):
        own = tomllib.loads(block)
        missing = {name: table for name, table in tomllib.loads(FRAME).items() if name not in own}
        path = tmp_path / f"{number}.toml"
        path.write_text(_toml(missing, top=True) + block + _toml(missing, top=False), encoding="utf-8")
        read(path)


def test_the_study_that_the_readme_prints_trains_the_script_that_it_speaks_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "PATH", f"{Path(sys.executable).parent}{os.pathsep}{ENVIRONMENT['PATH']}")
    first, *_ = blocks(ROOT / "README.md", "toml")
    assert "trials = 240" in first
    (tmp_path / "study.toml").write_text(first.replace("trials = 240", "trials = 22"), encoding="utf-8")
    shutil.copy(ROOT / "examples" / "digits" / "train.py", tmp_path)
    output("run", "study.toml", "--workers", "2", cwd=tmp_path)
    trials = lines_of_json("trials", "study.toml", cwd=tmp_path)
    assert {trial["state"] for trial in trials} == {"completed"}
    assert any(trial["parent"] is not None for trial in trials)


@by_page
def test_commands_exist(page: Path) -> None:
    named = re.findall(r"(?<![\w/.-])broodline ([a-z]+) (?:[\w./-]+\.toml|--)", page.read_text(encoding="utf-8"))
    assert set(named) <= {command.__name__.rpartition(".")[2].rstrip("_") for command in COMMANDS}


@by_page
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def _toml(document: dict[str, object], *, top: bool) -> str:
    """The plain values of a document, or its tables: the former must come before those of a block, the latter after."""
    if top:
        return "".join(
            f"{name} = {value!r}\n".replace("'", '"') for name, value in document.items() if not isinstance(value, dict)
        )
    tables = {name: value for name, value in document.items() if isinstance(value, dict)}
    source = dict(re.findall(r"^\[(\w+)\]\n((?:[^\[].*\n)+)", FRAME, flags=re.MULTILINE))
    return "".join(f"\n[{name}]\n{source[name]}" for name in tables)
