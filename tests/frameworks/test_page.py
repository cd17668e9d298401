"""The code of docs/schedule.md runs unchanged, each block in a new process, in a folder with a schedule."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from frameworks.schedules import LEARNED

from broodline import save_schedule

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/schedule.md").read_text(), flags=re.MULTILINE | re.DOTALL)
IN_FRAMEWORKS = [block for block in BLOCKS if "broodline.integrations" in block]


@pytest.mark.frameworks
@pytest.mark.parametrize("block", IN_FRAMEWORKS, ids=lambda block: re.findall(r"broodline\.integrations\.(\w+)", block)[0])
def test_the_code_for_a_framework_runs(block: str, tmp_path: Path) -> None:
    save_schedule(LEARNED, tmp_path / "schedule.json")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "KERAS_BACKEND": "jax", "KERAS_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_code_for_any_loop_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_schedule(LEARNED, tmp_path / "schedule.json")
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    for block in (block for block in BLOCKS if block not in IN_FRAMEWORKS):
        exec(compile(block, "schedule.md", "exec"), found)
    assert found["schedule"] == LEARNED


def test_the_shell_script_reads_the_csv_of_the_page(tmp_path: Path) -> None:
    page = (ROOT / "docs/schedule.md").read_text()
    (tmp_path / "schedule.csv").write_text(re.findall(r"^```\n(start,.*?)^```", page, flags=re.MULTILINE | re.DOTALL)[0])
    (script,) = re.findall(r"^```sh\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "from step 400, 200 steps with lr 0.0372, momentum 0.9"
