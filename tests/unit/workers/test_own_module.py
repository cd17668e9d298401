"""Modules of broodline as programs of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from broodline.workers.own_module import command_of


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
