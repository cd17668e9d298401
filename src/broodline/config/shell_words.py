"""Finds commands that only a shell would understand: the programs of a study are started without one.

A mistake is refused only if the command can't work: a false alarm would lock the user out of a study that runs.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

_BUILT_IN = ("source", ".", "cd", "export", "alias", "eval", "set", "unset", "ulimit", "module", "deactivate")
_OPERATORS = ("&&", "||", "2>&1", "|&")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_OPTION_AND_VALUE = re.compile(r"(--?[A-Za-z][\w-]*)\s+(\{[^{}]*\})")
_SCRIPT_AND_MORE = re.compile(r"\S+\.(py|sh|jl|R)\s+\S.*", re.DOTALL)


def shell_problem(command: Sequence[str], folder: Path) -> str | None:
    """The reason why a command needs a shell, and the command to write instead; None if it needs none.

    Args:
        command: The command of a study file.
        folder: The folder in which it runs.

    >>> print(shell_problem(["python train.py"], Path()))
    has an item that holds a whole command, 'python train.py'; no shell splits it: write ["python", "train.py"]
    >>> shell_problem(["sh", "-c", "cd src && python train.py"], Path())
    """
    first, words = command[0], _split(command[0])
    if words[:1] == ["conda"] and [*words, *command[1:]][1:2] == ["activate"]:
        return (
            "starts with 'conda activate', which only a shell knows; "
            'write ["conda", "run", "--no-capture-output", "-n", "ENVIRONMENT", "python", "train.py"]'
        )
    if words[:1] and words[0] in _BUILT_IN:
        return _by_a_shell(f"starts with '{words[0]}', which only a shell knows", command)
    if any(item in _OPERATORS for item in command):
        return _by_a_shell("has an operator that only a shell knows", command)
    if _ASSIGNMENT.fullmatch(first) and not _exists(first, folder):
        return f"starts with a variable, which only a shell sets; write {_list(['env', *words, *command[1:]])}"
    return _unsplit(command, folder)


def _unsplit(command: Sequence[str], folder: Path) -> str | None:
    """The item that a shell would split, and the list that it would make of it."""
    for index, item in enumerate(command):
        program = index == 0 and len(item.split()) > 1
        script = index == 1 and _SCRIPT_AND_MORE.fullmatch(item)
        if not (program or script or _OPTION_AND_VALUE.fullmatch(item)) or _exists(item, folder):
            continue
        if any(operator in item for operator in ("&&", "||", "|", ";", ">")):
            return _by_a_shell(f"has an item that holds a whole command, '{item}'", command)
        split = [*command[:index], *_split(item), *command[index + 1 :]]
        kind = "a whole command" if program or script else "an option and its value"
        return f"has an item that holds {kind}, '{item}'; no shell splits it: write {_list(split)}"
    return None


def _by_a_shell(problem: str, command: Sequence[str]) -> str:
    return f"{problem}; write {_list(['bash', '-c', ' '.join(command)])}"


def _list(command: Sequence[str]) -> str:
    return json.dumps(list(command), ensure_ascii=False)


def _split(item: str) -> list[str]:
    try:
        return shlex.split(item)
    except ValueError:  # an unmatched quote
        return item.split()


def _exists(item: str, folder: Path) -> bool:
    try:
        return (folder / item).exists() or shutil.which(item) is not None
    except (OSError, ValueError):  # too long, or a null character
        return False
