"""JSON values: which numbers every reader keeps, and when two values are the same."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from numbers import Real
from typing import Any

LARGEST_INT = 2**53  # every reader of JSON, and every database, keeps integers up to here


def is_finite(value: Any) -> bool:
    """True for a number that a float can hold; a boolean is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values, in which true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def among(value: Any, values: Iterable[Any]) -> bool:
    """True if a JSON value is one of some."""
    return any(same(value, known) for known in values)


def number(value: Any) -> float | None:
    """The value as a float, or None if it is not a finite number; booleans are not numbers."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None
