"""Finds objects, such as `{"accuracy": 0.9}`, in the lines that programs print.

Theory of operation. A program prints its metrics in the notation of its language: JSON, perhaps over several lines; a Python
dict with `nan`, `True` and `np.float64(0.9)`; either after a prefix of a logger. A scanner finds the brace that closes an object
and skips strings. If the object is not JSON, its tokens are spelled in JSON one by one and it is read again. An object that is
open at the end of a line continues in the following lines, as long as these look like the inside of an object.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

_LONGEST = 1 << 20  # characters of one object
_MOST_BRACES = 8  # of one line that are tried as the start of an object
_TOKEN = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[{}]""", re.DOTALL)
_SPELLING = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<call>[A-Za-z_][\w.]*\(\s*(?P<first>[-+\w.]+)\s*(?:,[^()]*)?\))"""
    r"""|(?P<word>[-+]?(?:nan|inf|infinity)\b|\b(?:True|False|None)\b)"""
    r"""|(?P<comma>,(?=\s*[}\]]))""",
    re.DOTALL | re.IGNORECASE,
)
_WORDS = {"true": "true", "false": "false", "none": "null", "nan": "NaN", "inf": "Infinity", "infinity": "Infinity"}
_OPEN = re.compile(r"""\{\s*(?:["']|$)""")
_INSIDE = re.compile(r"""[ \t]|[}\]"'\d]|[-+]?(?:nan|inf|true|false|null|none)\b""", re.IGNORECASE)


def read_object(text: str) -> dict[str, Any] | None:
    """The object that a string spells in JSON or as a Python dict; None if it spells anything else."""
    for spelling in (text, None):
        try:
            values = json.loads(_in_json(text) if spelling is None else spelling)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return values if isinstance(values, dict) else None
    return None


class ObjectFinder:
    """Finds the objects in a sequence of lines, those that span several lines too."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._depth = self._length = 0

    def find(self, line: str) -> dict[str, Any] | None:
        """The first object that ends in this line; None if there is none."""
        if self._open and (line.startswith("{") or not _INSIDE.match(line)):
            self._open.clear()  # the text that looked like the start of an object was not one
        return self._continued(line) if self._open else self._begun(line)

    def _begun(self, line: str) -> dict[str, Any] | None:
        start = line.find("{")
        for _ in range(_MOST_BRACES):
            if start < 0:
                return None
            end, depth = _scanned(line, start, 0)
            if depth and (not line[:start].strip() or _OPEN.match(line, start)):
                self._open, self._depth, self._length = [line[start:]], depth, len(line)
                return None
            if not depth and (values := read_object(line[start:end])) is not None:
                return values
            start = line.find("{", start + 1 if depth else end)
        return None

    def _continued(self, line: str) -> dict[str, Any] | None:
        end, self._depth = _scanned(line, 0, self._depth)
        self._open.append(line[:end])
        self._length += len(line)
        if self._depth and self._length <= _LONGEST:
            return None
        text = "\n".join(self._open)
        self._open.clear()
        return None if self._depth else read_object(text)


def _scanned(text: str, start: int, depth: int) -> tuple[int, int]:
    """The place after the brace that closes the outermost object, and depth 0; or the end of the text, and the depth there."""
    for token in _TOKEN.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return token.end(), 0
    return len(text), depth


def _in_json(text: str) -> str:
    return _SPELLING.sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    if found["string"]:
        return found[0] if found[0].startswith('"') else json.dumps(ast.literal_eval(found[0]))
    if found["comma"]:
        return ""
    value = found["first"] or found["word"]
    sign, word = ("-" if value.startswith("-") else ""), value.lstrip("+-")
    return sign * (word.lower() != "nan") + _WORDS.get(word.lower(), word)
