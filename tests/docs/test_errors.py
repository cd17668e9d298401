"""An error gives its remedy in one way: a last line that starts with `help: `, not a part of the sentence before it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "broodline"
FOLDERS = (
    *("cli", "config", "controller", "core", "reports", "simulation", "strategies", "studies", "workers"),
    *("storage/sql", "storage/sqlite", "storage/checkpoints"),
)
_VERBS = "add|call|choose|copy|delete|give|install|make|mount|move|name|put|restore|set|start|stop|undo|upgrade|use|write"
_REMEDY = re.compile(rf"[;:.] (?:{_VERBS}) ", re.IGNORECASE)
_ERRORS = ("Error", "Busy", "Changed", "Missing", "NotFound")


def messages_of_errors(code: str) -> Iterator[str]:
    """The strings with which a module makes errors, without the values in them."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith(_ERRORS):
            for argument in node.args:
                if isinstance(argument, ast.JoinedStr):
                    yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in argument.values)
                elif isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value


def gives_its_remedy_elsewhere(message: str) -> bool:
    problem, *_ = message.split("\nhelp: ")
    return _REMEDY.search(problem) is not None or "help:" in problem


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_remedy_is_a_line_of_help(folder: str) -> None:
    messages = [text for path in sorted((SOURCE / folder).rglob("*.py")) for text in messages_of_errors(path.read_text("utf-8"))]
    assert [message for message in messages if gives_its_remedy_elsewhere(message)] == []


def test_a_remedy_in_the_sentence_is_found() -> None:
    code = 'raise StoreError(f"{path}: is full; delete something")\nraise UsageError("x: is missing\\nhelp: write it")'
    assert [gives_its_remedy_elsewhere(message) for message in messages_of_errors(code)] == [True, False]
