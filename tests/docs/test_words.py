"""The prose of broodline is plain: pages, help, messages, docstrings and comments avoid the words of `vocabulary.py`."""

from __future__ import annotations

import argparse
import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs.vocabulary import lines_with_avoided_words

from broodline.cli import COMMANDS, parser

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "broodline"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGES = sorted({path.relative_to(SOURCE).parts[0] for path in SOURCE.rglob("*.py")})
HELP = ["", *(command.__name__.rpartition(".")[2].rstrip("_") for command in COMMANDS)]
per_package = pytest.mark.parametrize("package", PACKAGES)


def prose_of_page(page: Path) -> str:
    """A page without the code inside of its lines, which names things by their names."""
    return re.sub(r"`[^`\n]+`", "``", page.read_text(encoding="utf-8"))


def help_of(command: str) -> str:
    whole = parser()
    if not command:
        return whole.format_help()
    (commands,) = (action for action in whole._actions if isinstance(action, argparse._SubParsersAction))
    text: str = commands.choices[command].format_help()
    return text


def messages_in(code: str) -> Iterator[tuple[int, str]]:
    """The strings of a module that people read: those with a space that are no docstrings; errors, help, hints and log lines."""
    tree = ast.parse(code)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value and id(node) not in docstrings:
            yield node.lineno, node.value


def explanations_in(code: str) -> Iterator[tuple[int, str]]:
    """The docstrings and comments of a module."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, re.sub(r"`[^`\n]+`", "``", node.value.value)
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], re.sub(r"`[^`\n]+`", "``", token.string)


def files_of(package: str) -> list[Path]:
    return [SOURCE / package] if package.endswith(".py") else sorted((SOURCE / package).rglob("*.py"))


def found_in(package: str, *, explanations: bool) -> list[str]:
    read = explanations_in if explanations else messages_in
    return [
        f"{path.relative_to(ROOT)}:{start}: {hit}"
        for path in files_of(package)
        for start, prose in read(path.read_text(encoding="utf-8"))
        for hit in lines_with_avoided_words(prose)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_plain(page: Path) -> None:
    assert lines_with_avoided_words(prose_of_page(page)) == []


@pytest.mark.parametrize("command", HELP, ids=lambda command: command or "broodline")
def test_help_is_plain(command: str) -> None:
    assert lines_with_avoided_words(help_of(command)) == []


@per_package
def test_messages_are_plain(package: str) -> None:
    assert found_in(package, explanations=False) == []


@per_package
def test_docstrings_and_comments_are_plain(package: str) -> None:
    assert found_in(package, explanations=True) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "The study goes on with it.",
        "Who asks, waits.",
        "# What it costs",
        "The trial is told to stop.",
        "It must be a text.",
        'strategy = "none"',
        "nothing. What nothing needs is removed.",
    ],
)
def test_a_word_to_avoid_is_found(sentence: str) -> None:
    assert lines_with_avoided_words(f"A plain line.\n{sentence}") != []


@pytest.mark.parametrize(
    "sentence",
    ["The study resumes.", "What does a trial cost?", "None is unlimited.", "There is room for it.", "The old name is `none`."],
)
def test_a_plain_sentence_is_left_alone(sentence: str) -> None:
    assert lines_with_avoided_words(sentence) == []


def test_messages_are_strings_and_explanations_are_docstrings_and_comments() -> None:
    code = '"""A module."""\nraise ValueError(f"the lease of {worker} ran out")  # it died\n'
    assert [text for _, text in messages_in(code)] == ["the lease of ", " ran out"]
    assert [text for _, text in explanations_in(code)] == ["A module.", "# it died"]
