"""Commands that only a shell would understand are refused with the command to write; all others are left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import write_study

from broodline.config.shell_words import shell_problem
from broodline.config.study_file import read
from broodline.errors import StudyFileError

CONDA = '["conda", "run", "--no-capture-output", "-n", "ENVIRONMENT", "python", "train.py"]'


@pytest.mark.parametrize(
    ("command", "write"),
    [
        (["python train.py --lr={lr}"], '["python", "train.py", "--lr={lr}"]'),
        (["python", "train.py --lr {lr}"], '["python", "train.py", "--lr", "{lr}"]'),
        (["python", "train.py", "--lr {lr}"], '["python", "train.py", "--lr", "{lr}"]'),
        (["source venv/bin/activate && python train.py"], '["bash", "-c", "source venv/bin/activate && python train.py"]'),
        (["source", "a", "&&", "python", "train.py"], '["bash", "-c", "source a && python train.py"]'),
        (["cd src; python train.py"], '["bash", "-c", "cd src; python train.py"]'),
        (["python", "train.py", "&&", "echo", "done"], '["bash", "-c", "python train.py && echo done"]'),
        (["python train.py | tee log"], '["bash", "-c", "python train.py | tee log"]'),
        (["conda activate torch && python train.py"], CONDA),
        (["conda", "activate", "torch"], CONDA),
        (["LR={lr}", "python", "train.py"], '["env", "LR={lr}", "python", "train.py"]'),
        (["LR={lr} python train.py"], '["env", "LR={lr}", "python", "train.py"]'),
        (["python 'train.py"], '["python", "\'train.py"]'),
    ],
)
def test_a_command_for_a_shell_is_refused_with_what_to_write(tmp_path: Path, command: list[str], write: str) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace('["sh", "train.sh"]', json.dumps(command)))
    with pytest.raises(StudyFileError) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: [train] command: ")
    assert write in str(refused.value)
    assert shell_problem(json.loads(write), tmp_path) is None


@pytest.mark.parametrize(
    "command",
    [
        ["sh", "-c", "source venv/bin/activate && python train.py --lr {lr} > log 2>&1"],
        ["conda", "run", "-n", "torch", "python", "train.py"],
        ["env", "LR=1", "python", "train.py"],
        ["find", ".", "-name", "a b", "-exec", "rm", "{{}}", ";"],
        ["python", "train.py", "--title", "two words {lr}", "--note=a && b"],
        ["python", "-c", "print(1); print(2)"],
        ["my program", "--lr={lr}"],
        ["\0"],
    ],
)
def test_a_command_that_works_without_a_shell_is_left_alone(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "my program").touch()
    assert shell_problem(command, tmp_path) is None
