"""Strings that every database, file and terminal can hold, made from the strings of programs."""

from __future__ import annotations

import re

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])")
# All control characters but tab and line feed, and the halves of surrogate pairs, which have no encoding.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def has_surrogates(text: str) -> bool:
    r"""True for a string with half a surrogate pair, which UTF-8 can't encode.

    >>> has_surrogates("café"), has_surrogates("caf\udce9")
    (False, True)
    """
    return _SURROGATE.search(text) is not None


def spelled_surrogates(text: str) -> str:
    r"""A string in which half a surrogate pair, which has no encoding, is spelled as JSON does.

    >>> spelled_surrogates('"caf\udce9"')
    '"caf\\udce9"'
    """
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def without_escapes(text: str) -> str:
    """A string without the escape sequences that colour a terminal or move its cursor."""
    return _SEQUENCE.sub("", text) if "\x1b" in text else text


def printable(text: str) -> str:
    r"""A string that is safe to store and to show: no escape sequences; other unprintable characters are spelled out.

    >>> printable("\x1b[31mred\x1b[0m\a caf\udce9")
    'red\\x07 caf\\udce9'
    """
    lines = without_escapes(text).replace("\r\n", "\n").replace("\r", "\n")
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), lines)


def shortened(text: str, limit: int, *, keep_end: bool = False) -> str:
    """A string cut to about so many characters, with a note of how many were left out.

    >>> shortened("abcdef", 4), shortened("abcdef", 4, keep_end=True)
    ('abcd... (2 more characters)', '(2 characters before) ...cdef')
    """
    more = len(text) - limit
    if more <= 0:
        return text
    return f"({more} characters before) ...{text[more:]}" if keep_end else f"{text[:limit]}... ({more} more characters)"
