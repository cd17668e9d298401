"""Reading a document of nested tables: an error message names the file, the key and the allowed values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from broodline.core.json_values import LARGEST_INT, is_finite
from broodline.errors import DocumentError, StudyFileError


class InvalidValue(ValueError):
    """A value breaks its rule; the message is the rule in words, such as "an integer, at least 1"."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule that a value must follow.

    Args:
        expected: The rule, in words that follow "must be".
        read: Returns the value as the program uses it, or raises `InvalidValue`.
    """

    expected: str
    read: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class ConfigTable:
    """One table of a document.

    Args:
        values: Its keys and values.
        source: The file, for messages.
        key: The table's own dotted key; empty for the whole document.
        kind: The class of the errors.
    """

    values: Mapping[str, Any]
    source: str
    key: str = ""
    kind: type[DocumentError] = StudyFileError

    def error(self, name: str, problem: str) -> DocumentError:
        """An error about the key `name` of this table, or about the table itself if the name is empty."""
        return self.kind(self.source, ".".join(part for part in (self.key, name) if part), problem)

    def check_names(self, known: Collection[str], what: str = "key") -> None:
        """Refuses an unknown key, and suggests the most similar known one.

        Raises:
            DocumentError: A key is unknown.
        """
        for name in self.values:
            if name not in known:
                raise self.error(str(name), f"unknown {what}{nearest(str(name), known)}; known: {', '.join(known)}")

    def table(self, name: str) -> ConfigTable:
        """The table of that name; an empty one if it is missing.

        Raises:
            DocumentError: The value is not a TOML table.
        """
        value = self.values.get(name, {})
        inner = ConfigTable(value, self.source, f"{self.key}.{name}" if self.key else name, self.kind)
        if not isinstance(value, Mapping):
            raise inner.error("", f"must be a TOML table, got {describe(value)}")
        return inner

    def value(self, name: str, rule: Rule) -> Any:
        """The value of a required key.

        Raises:
            DocumentError: The key is missing, or its value breaks the rule.
        """
        if name not in self.values:
            raise self.error(name, f"is missing; it must be {rule.expected}")
        try:
            return rule.read(self.values[name])
        except InvalidValue as invalid:
            raise self.error(name, f"must be {invalid}, got {describe(self.values[name])}") from None

    def present(self, rules: Mapping[str, Rule]) -> dict[str, Any]:
        """The values of those keys that the table has.

        Raises:
            DocumentError: A value breaks its rule.
        """
        return {name: self.value(name, rule) for name, rule in rules.items() if name in self.values}


def nearest(name: str, known: Collection[str]) -> str:
    """A hint at the known name that is most similar; empty if none is similar."""
    import difflib  # only errors need it

    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""


def describe(value: Any) -> str:
    """A value as error messages show it, with its type where that may be the mistake."""
    match value:
        case bool():
            return f"{str(value).lower()} (a boolean)"
        case str():
            return f"{json.dumps(value, ensure_ascii=False)} (a string)"  # JSON keeps it on one line
        case int() | float():
            return repr(value)
        case Mapping():
            return "a TOML table"
        case list() | tuple():
            return f"the list {list(value)!r}"
        case _:
            return f"{value!r}"


def integer(at_least: int, *, at_most: int = LARGEST_INT) -> Rule:
    """An integer; a boolean is not one."""
    expected = f"an integer, at least {at_least}" + (f", at most {at_most}" if at_most < LARGEST_INT else "")

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not at_least <= value <= at_most:
            # "an integer, at least 1" would be wrong about a huge number: it is one.
            too_large = isinstance(value, int) and value > LARGEST_INT
            raise InvalidValue("an integer, at most 2**53" if too_large else expected)
        return value

    return Rule(expected, read)


def finite(
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    other_than: float | None = None,
) -> Rule:
    """A finite number; a boolean is not one."""
    bounds = {"above": above, "at least": at_least, "at most": at_most, "other than": other_than}
    expected = ", ".join(["a finite number", *(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)])

    def read(value: Any) -> float:
        too_low = is_finite(value) and ((above is not None and value <= above) or (at_least is not None and value < at_least))
        too_high = is_finite(value) and at_most is not None and value > at_most
        if not is_finite(value) or too_low or too_high or value == other_than:
            raise InvalidValue(expected)
        return float(value)

    return Rule(expected, read)


def one_of(*allowed: str) -> Rule:
    """One of some strings."""
    expected = " or ".join(f'"{each}"' for each in allowed)

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise InvalidValue(expected + (nearest(value, allowed) if isinstance(value, str) else ""))
        return value

    return Rule(expected, read)


def string(expected: str, pattern: str = ".+") -> Rule:
    """A string that matches a pattern as a whole."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise InvalidValue(expected)
        return value

    return Rule(expected, read)


def list_of(each: Rule, expected: str, *, at_least: int = 0) -> Rule:
    """A list of at least so many values that follow a rule; the value is a tuple."""

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) < at_least:
            raise InvalidValue(expected)
        try:
            return tuple(each.read(item) for item in value)
        except InvalidValue:
            raise InvalidValue(expected) from None

    return Rule(expected, read)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(FLAG.expected)
    return value


_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"\s*(?:\d+(?:\.\d+)?\s*[dhms]\s*)+")


def duration(value: Any) -> float:
    """Seconds, from a number of seconds or from a string with units.

    Raises:
        InvalidValue: It is neither, or not above zero.

    >>> duration("1h 30m"), duration("45s"), duration(2.5)
    (5400.0, 45.0, 2.5)
    """
    seconds = value
    if isinstance(value, str) and _DURATION.fullmatch(value):
        seconds = sum(float(amount) * _UNITS[unit] for amount, unit in re.findall(r"([\d.]+)\s*([dhms])", value))
    if not is_finite(seconds) or seconds <= 0:
        raise InvalidValue(DURATION.expected)
    return float(seconds)


FLAG = Rule("true or false", _flag)
DURATION = Rule('a time above zero: seconds, or a string such as "45s", "30m", "1h 30m" or "2d"', duration)
