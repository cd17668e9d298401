"""The rules that the arguments of parameter types follow; each error names the argument."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from broodline.core.json_values import LARGEST_INT, among, is_finite
from broodline.errors import SpaceError


def assign(param: Any, **values: Any) -> None:
    """Sets fields of a frozen parameter, which its `__post_init__` has normalised."""
    for name, value in values.items():
        object.__setattr__(param, name, value)


def range_ends(key: str, ends: Sequence[Any], number: Callable[[str, Any], Any]) -> tuple[Any, Any]:
    """The ends of a range, checked: low below high, and a finite distance.

    Raises:
        SpaceError: The value breaks a rule.
    """
    low, high = number(key, ends[0]), number(key, ends[1])
    if not low < high:
        raise SpaceError(key, f"the range [{low!r}, {high!r}] is empty: low must be less than high (write one value as it is)")
    if not math.isfinite(high - low):
        raise SpaceError(key, f"the range [{low!r}, {high!r}] is too wide: high - low must be a finite number")
    return low, high


def init_range(init: Any, low: Any, high: Any, number: Callable[[str, Any], Any]) -> tuple[Any, Any]:
    """The ends of a range for generation 0, which lies in the whole range.

    Raises:
        SpaceError: The value breaks a rule.
    """
    if not isinstance(init, list | tuple) or len(init) != 2:
        raise SpaceError("init", f"must be [low, high], got {init!r}")
    first, last = number("init", init[0]), number("init", init[1])
    if not low <= first <= last <= high:
        raise SpaceError("init", f"must be part of the range [{low!r}, {high!r}], got [{first!r}, {last!r}]")
    return first, last


def finite_number(key: str, value: Any) -> float:
    """A finite number as a float.

    Raises:
        SpaceError: The value breaks a rule.
    """
    if not is_finite(value):
        raise SpaceError(key, f"must be finite numbers, got {value!r}")
    return float(value)


def integer_value(key: str, value: Any) -> int:
    """An integer that JSON keeps exactly; a boolean is not one.

    Raises:
        SpaceError: The value breaks a rule.
    """
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST_INT:
        raise SpaceError(key, f"must be integers, at most 2**53, got {value!r}")
    return value


def check_flags(**flags: Any) -> None:
    """Refuses an option that is not a boolean.

    Raises:
        SpaceError: The value breaks a rule.
    """
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise SpaceError(name, f"must be true or false, got {flag!r}")


def condition_values(when: Any) -> dict[str, tuple[Any, ...]] | None:
    """A condition with a tuple of values for each parameter; None if there is none.

    Raises:
        SpaceError: The value breaks a rule.
    """
    if when is None:
        return None
    if not isinstance(when, Mapping) or not when:
        raise SpaceError("when", f'must name parameters and their values, such as {{ optimizer = "sgd" }}, got {when!r}')
    return {name: scalars(f"when.{name}", v if isinstance(v, list | tuple) else (v,)) for name, v in when.items()}


def scalars(key: str, values: Any) -> tuple[Any, ...]:
    """Different scalar values as a tuple.

    Raises:
        SpaceError: The value breaks a rule.
    """
    if not isinstance(values, list | tuple) or not values:
        raise SpaceError(key, f"must be a list of values, got {values!r}")
    for index, value in enumerate(values):
        if not _is_scalar(value):
            raise SpaceError(key, f"must be strings, finite numbers or booleans, got {value!r}")
        if among(value, values[:index]):
            raise SpaceError(key, f"{value!r} is listed twice")
    return tuple(values)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def json_value(value: Any) -> Any:
    """A JSON value, with lists and dicts of its own.

    Raises:
        SpaceError: The value breaks a rule.
    """
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: json_value(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(each) for each in value]
    if not _is_scalar(value):
        raise SpaceError("fixed", f"must be a JSON value (a string, finite number, boolean, list or table), got {value!r}")
    return value
