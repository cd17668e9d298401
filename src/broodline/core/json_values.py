"""JSON values: the range of portable numbers, and equality."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from numbers import Real
from typing import Any

LARGEST_INT = 2**53  # every JSON parser and every database keeps integers exact up to here


def is_finite(value: Any) -> bool:
    """True for a number in the range of a float; a boolean is not a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values: unlike in Python, true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def among(value: Any, values: Iterable[Any]) -> bool:
    """True if a JSON value equals one of the others."""
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
