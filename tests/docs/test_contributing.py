"""The steps of docs/contributing.md work: the test follows each section in an empty folder, as a reader does.

A line with a file name, such as "`ring.py`:", stands above the code block with the content of that file. The lines of a `sh`
block are commands. `pip install -e .` becomes the metadata that pip would write, because an installation needs a network.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest
from commands import ENVIRONMENT

PAGE = Path(__file__).parents[2] / "docs" / "contributing.md"
BLOCK = re.compile(r"(?:^`(?P<file>[\w./-]+)`:\n\n)?^```(?P<language>\w*)\n(?P<content>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFile:
    """A step of a section: this file has this content."""

    name: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCommand:
    """A step of a section: this command ends well."""

    line: str


def sections() -> dict[str, str]:
    """The sections of the page that add something, by their titles."""
    _, *parts = re.split(r"^## (?=Add )", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {part.partition("\n")[0]: part for part in parts}


def steps_of(section: str) -> Iterator[WriteFile | RunCommand]:
    for block in BLOCK.finditer(section):
        if block["file"]:
            yield WriteFile(name=block["file"], content=block["content"])
        elif block["language"] == "sh":
            yield from (RunCommand(line=line) for line in block["content"].splitlines())


def follow(step: WriteFile | RunCommand, folder: Path) -> None:
    if isinstance(step, WriteFile):
        (folder / step.name).write_text(step.content, encoding="utf-8")
    elif step.line == "pip install -e .":
        install(folder)
    else:
        run(step.line, folder)


def install(folder: Path) -> None:
    """Writes the metadata of an editable installation: a distribution that lies on the path with its modules."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = (entry_point_lines(group, points) for group, points in project["entry-points"].items())
    (info / "entry_points.txt").write_text("\n".join(chain.from_iterable(groups)) + "\n")


def entry_point_lines(group: str, points: dict[str, str]) -> list[str]:
    return [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]


def run(line: str, folder: Path) -> None:
    words = shlex.split(line)
    variables = {}
    if words[0] == "env":
        variables, words = {"SCRATCH": words[1].removeprefix("SCRATCH=")}, words[2:]
    program, *arguments = words
    environment = (
        ENVIRONMENT
        | variables
        | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{ENVIRONMENT['PATH']}",
            "PYTHONPATH": f"{folder}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}",
        }
    )
    command = [sys.executable, "-m", program, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("title", sections())
def test_the_steps_of_a_section_work(title: str, tmp_path: Path) -> None:
    steps = list(steps_of(sections()[title]))
    assert {type(step) for step in steps} == {WriteFile, RunCommand}
    for step in steps:
        follow(step, tmp_path)


def test_a_step_that_fails_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no-such-file"):
        follow(RunCommand(line="pytest no-such-file.py"), tmp_path)


def test_each_plug_in_point_has_a_section() -> None:
    assert set(sections()) >= {"Add a strategy", "Add a store", "Add a checkpoint store", "Add an engine", "Add a trainer"}
