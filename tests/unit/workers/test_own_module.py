"""Modules of broodline as programs of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from commands import ENVIRONMENT, SOURCE

from broodline.workers.own_module import command_of, library_first

SHADOWS = ("random", "types", "queue", "statistics", "select", "stat", "numbers", "pickle", "threading", "broodline")


def test_a_module_is_started_with_the_imports_of_this_process_and_not_those_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "program.py").write_text("import json, sys\ndef main(): print(json.dumps(sys.argv[1:]))\n")
    (tmp_path / "json.py").write_text("raise ImportError('the folder is imported from')\n")
    monkeypatch.syspath_prepend(str(elsewhere))
    done = subprocess.run(command_of("program", "a", "b c"), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == '["a", "b c"]\n'


def test_the_standard_library_is_searched_first_and_the_other_folders_keep_their_order() -> None:
    library = [entry for entry in sys.path if entry.endswith(("/lib-dynload", f"/python3.{sys.version_info.minor}"))]
    assert library_first(["/mine", *library, "", "/yours"]) == [*library, "/mine", "", "/yours"]


@pytest.fixture
def shadowed(tmp_path: Path) -> Path:
    """A folder whose files have the names of modules that broodline imports, and of one that a function imports."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("raise ImportError('a file of the folder is imported')\n")
    (tmp_path / "model.py").write_text("def score(): return 7.0\n")
    return tmp_path


FUNCTION = """\
import sys
folder = sys.path.pop(0)  # in the script's own process Python itself prefers the files beside it
import random, types, queue, statistics, select, stat, numbers, pickle, threading
import broodline
sys.path.insert(0, folder)
study = broodline.Study(name="digits", trial_steps=10, population=2, objective={"accuracy": "maximize"},
                        space={"lr": broodline.Float(1e-4, 1.0, log=True)})

def train(trial):
    import queue, random, model
    (trial.save_to / "weights").write_text(str(queue.Queue))
    return {"accuracy": model.score()}

print(study.run(train, workers=1, budget=broodline.Budget(trials=2), show=False).best.metrics["accuracy"])
"""


def test_files_beside_a_script_do_not_shadow_the_standard_library_in_workers_and_are_importable(shadowed: Path) -> None:
    (shadowed / "study.py").write_text(FUNCTION)
    environment = ENVIRONMENT | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "study.py"], cwd=shadowed, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("7.0\n", 0), done.stderr


@pytest.mark.parametrize("path", [str(SOURCE), f"{SOURCE}:"], ids=["plain", "with an empty entry"])
def test_python_m_broodline_takes_no_file_of_the_current_folder_for_the_standard_library(path: str, tmp_path: Path) -> None:
    for name in ("random", "statistics", "sqlite3", "uuid", "queue"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('a file of the folder is imported')\n")
    command = [sys.executable, "-m", "broodline", "status", "missing", "--store", "sqlite:///missing.db"]
    environment = ENVIRONMENT | {"PYTHONPATH": path}  # an empty entry stands for the current folder
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "broodline: error:" in done.stderr
    assert "ImportError" not in done.stderr
