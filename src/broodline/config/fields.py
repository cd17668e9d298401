"""Reading a document of nested tables: every mistake is told with its file, its key and what is allowed there."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from broodline.core.json_values import LARGEST_INT, is_finite
from broodline.errors import DocumentError, StudyFileError

Rule = Callable[[Any], Any]


class InvalidValue(ValueError):
    """A value is not what its rule asks for; the text says what that is."""


@dataclass(frozen=True, slots=True)
class ConfigTable:
    """One table of a document.

    Args:
        values: What is in it.
        source: The file, for messages.
        key: The table's own dotted key; empty for the whole document.
        kind: The error that is raised.
    """

    values: Mapping[str, Any]
    source: str
    key: str = ""
    kind: type[DocumentError] = StudyFileError

    def error(self, name: str, problem: str) -> DocumentError:
        """The error about the key `name` of this table (empty: about the table itself)."""
        return self.kind(self.source, ".".join(part for part in (self.key, name) if part), problem)

    def check_names(self, known: Collection[str], what: str = "key") -> None:
        """Refuses a key that is not known, and names the nearest that is.

        Raises:
            DocumentError: There is one.
        """
        for name in self.values:
            if name not in known:
                raise self.error(str(name), f"unknown {what}{nearest(str(name), known)}; known: {', '.join(known)}")

    def table(self, name: str) -> ConfigTable:
        """The table of that name; an empty one if there is none.

        Raises:
            DocumentError: It is not a table.
        """
        value = self.values.get(name, {})
        inner = ConfigTable(value, self.source, f"{self.key}.{name}" if self.key else name, self.kind)
        if not isinstance(value, Mapping):
            raise inner.error("", f"must be a table, not {describe(value)}")
        return inner

    def value(self, name: str, rule: Rule) -> Any:
        """The value of a key that must be there.

        Raises:
            DocumentError: It is missing or unfit.
        """
        if name not in self.values:
            raise self.error(name, f"is missing; it must be {_asked(rule)}")
        try:
            return rule(self.values[name])
        except InvalidValue as invalid:
            raise self.error(name, f"must be {invalid}, not {describe(self.values[name])}") from None

    def present(self, rules: Mapping[str, Rule]) -> dict[str, Any]:
        """The values of those keys that are there.

        Raises:
            DocumentError: One is unfit.
        """
        return {name: self.value(name, rule) for name, rule in rules.items() if name in self.values}


def nearest(name: str, known: Collection[str]) -> str:
    """A hint at the known name that was probably meant, if one is near."""
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""


def describe(value: Any) -> str:
    """A value as messages show it, with its type where that may be the mistake."""
    match value:
        case bool():
            return f"{str(value).lower()} (a boolean)"
        case str():
            return f"{json.dumps(value, ensure_ascii=False)} (a text)"  # on one line, whatever is in it
        case int() | float():
            return repr(value)
        case Mapping():
            return "a table"
        case list() | tuple():
            return f"the list {list(value)!r}"
        case _:
            return f"{value!r}"


def integer(at_least: int) -> Rule:
    """An integer; a boolean is none."""

    def rule(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise InvalidValue(f"an integer, at least {at_least}")
        if value > LARGEST_INT:
            raise InvalidValue("an integer, at most 2**53")
        return value

    return rule


def finite(*, above: float = -math.inf, at_least: float = -math.inf, at_most: float = math.inf) -> Rule:
    """A finite number; a boolean is none."""
    bounds = [("above", above), ("at least", at_least), ("at most", at_most)]
    asked = ", ".join(["a finite number", *(f"{word} {bound:g}" for word, bound in bounds if math.isfinite(bound))])

    def rule(value: Any) -> float:
        if not is_finite(value) or value <= above or not at_least <= value <= at_most:
            raise InvalidValue(asked)
        return float(value)

    return rule


def flag(value: Any) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        raise InvalidValue("true or false")
    return value


def one_of(*allowed: str) -> Rule:
    """One of some texts."""

    def rule(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            hint = nearest(value, allowed) if isinstance(value, str) else ""
            raise InvalidValue(" or ".join(f'"{text}"' for text in allowed) + hint)
        return value

    return rule


def text(asked: str, pattern: str = ".+") -> Rule:
    """A text of which the whole fits a pattern; `asked` describes it."""

    def rule(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise InvalidValue(asked)
        return value

    return rule


def list_of(each: Rule, asked: str, *, at_least: int = 0) -> Rule:
    """A list, as a tuple; `asked` describes it."""

    def rule(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) < at_least:
            raise InvalidValue(asked)
        try:
            return tuple(each(item) for item in value)
        except InvalidValue:
            raise InvalidValue(asked) from None

    return rule


_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"\s*(?:\d+(?:\.\d+)?\s*[dhms]\s*)+")


def duration(value: Any) -> float:
    """Seconds, from a number of them or from a text.

    Raises:
        Unfit: It is neither, or not above zero.

    >>> duration("1h 30m"), duration("45s"), duration(2.5)
    (5400.0, 45.0, 2.5)
    """
    seconds = value
    if isinstance(value, str) and _DURATION.fullmatch(value):
        seconds = sum(float(amount) * _UNITS[unit] for amount, unit in re.findall(r"([\d.]+)\s*([dhms])", value))
    if not is_finite(seconds) or seconds <= 0:
        raise InvalidValue('a time above zero: seconds, or a text such as "45s", "30m", "1h 30m" or "2d"')
    return float(seconds)


def _asked(rule: Rule) -> str:
    """What a rule asks for: nothing fits every rule less than an object of no type."""
    try:
        rule(object())
    except InvalidValue as invalid:
        return str(invalid)
    raise AssertionError("a rule accepts anything")
