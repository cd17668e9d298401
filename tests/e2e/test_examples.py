"""The examples work as they stand; with less to do, so that it takes seconds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ENVIRONMENT, call, lines_of_json

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def activated(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `source .venv/bin/activate`: `python` is this one."""
    monkeypatch.setitem(ENVIRONMENT, "PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


@pytest.fixture(name="example")
def copied(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of an example, its budget cut down."""
    copy = tmp_path / "example"
    shutil.copytree(EXAMPLES / request.param, copy, ignore=shutil.ignore_patterns("broodline.*", "__pycache__"))
    for path in [*copy.glob("*.toml"), *copy.glob("study.py")]:
        text = path.read_text()
        fewer = re.sub(r"\btrials ?= ?\d+", "trials=10", text)
        assert fewer != text
        path.write_text(fewer)
    return copy


@pytest.mark.parametrize("example", ["digits", "resident"], indirect=True)
def test_a_study_file_runs(example: Path) -> None:
    done = call("run", "study.toml", "--json", cwd=example)
    assert done.returncode == 0, done.stderr
    trials = lines_of_json("trials", "study.toml", cwd=example)
    assert [trial["state"] for trial in trials] == ["completed"] * 10
    (best,) = lines_of_json("best", "study.toml", cwd=example)
    assert Path(best["checkpoint"]).is_dir()


@pytest.mark.parametrize("example", ["digits"], indirect=True)
def test_the_demos_winner_can_be_judged_on_data_that_selection_never_saw(example: Path) -> None:
    assert call("run", "study.toml", "--json", cwd=example).returncode == 0
    (best,) = lines_of_json("best", "study.toml", cwd=example)
    judged = subprocess.run(
        [sys.executable, "test.py", best["checkpoint"]], cwd=example, capture_output=True, text=True, check=True
    )
    assert "accuracy" in judged.stdout


@pytest.mark.parametrize("example", ["function"], indirect=True)
def test_a_script_without_a_main_guard_runs(example: Path) -> None:
    done = subprocess.run([sys.executable, "study.py"], cwd=example, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


def test_the_two_studies_of_the_demo_differ_in_name_and_strategy_only() -> None:
    study, random = ((EXAMPLES / "digits" / name).read_text() for name in ("study.toml", "random.toml"))

    def settings(text: str) -> list[str]:
        return [line for line in text.splitlines() if line and not line.startswith("#")]

    differ = set(settings(study)) ^ set(settings(random))
    assert differ == {'name = "digits"', 'name = "digits-random"', "[evolution]", 'strategy = "random"'}
