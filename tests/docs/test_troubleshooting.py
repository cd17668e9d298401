"""docs/troubleshooting.md quotes messages that the code prints: a message that was reworded is reworded there too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
_HEADINGS = re.findall(r"^\*\*(.+?)\*\*", PAGE, re.MULTILINE)
_REPORTS = [line.split("|")[2] for line in PAGE.splitlines() if line.count("|") == 5]
QUOTED = sorted(
    {quoted for place in (*_HEADINGS, *_REPORTS) for quoted in re.findall(r"`([^`]+)`", place) if quoted.count(" ") > 3}
)
_SHARE = 0.4  # of the pairs of words: others stand at a place where the code puts two messages together
_VALUE = r"'[^']*'|\b[a-z]\.\w+|[\d.,]*\d\w*|\0"  # a name or a number, which only the running program knows


def strings_in(code: str) -> Iterator[str]:
    """Each string of a module; of an f-string the constant parts, with a gap for each value."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else " \0 " for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def pairs(text: str) -> list[tuple[str, str]]:
    """The words of a text, two at a time; a value separates them."""
    parts = [re.findall(r"[\w'-]+", part) for part in re.split(_VALUE, text)]
    return [pair for words in parts for pair in pairwise(words)]


PRINTED = {
    pair
    for path in (ROOT / "src" / "broodline").rglob("*.py")
    for text in strings_in(path.read_text(encoding="utf-8"))
    for pair in pairs(text)
}


def is_printed(message: str) -> bool:
    found = [pair in PRINTED for pair in pairs(message)]
    return sum(found) >= _SHARE * len(found)


@pytest.mark.parametrize("message", QUOTED)
def test_a_quoted_message_is_one_that_the_code_prints(message: str) -> None:
    assert is_printed(message)


def test_a_message_that_was_reworded_is_found() -> None:
    assert len(QUOTED) > 30
    assert is_printed("study 'x' is running already")
    assert not is_printed("study 'x' gets executed twice")
