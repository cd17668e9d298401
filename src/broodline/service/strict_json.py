"""Reads JSON that strangers send: UTF-8, no NaN, no repeated key, no half surrogate pair, bounded nesting and numbers."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from broodline.core.json_values import is_finite
from broodline.core.text import has_surrogates

DEEPEST = 64


class BadJson(ValueError):
    """Raised when bytes are not such a value; the text names the mistake and quotes nothing."""


def read_json(body: bytes) -> Any:
    """The value in the bytes of a request.

    Raises:
        BadJson: They are not JSON, or hold a value that no database and no other program can be given.
    """
    try:
        value = _DECODER.decode(body.decode("utf-8"))
    except BadJson:
        raise
    except UnicodeDecodeError:
        raise BadJson("the body is not UTF-8") from None
    except RecursionError:
        raise BadJson(f"values are nested deeper than {DEEPEST} levels") from None
    except ValueError as error:
        place = f" at line {error.lineno} column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise BadJson(f"the body is not JSON{place}") from None
    _check(value, DEEPEST)
    return value


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        if has_surrogates(value):
            raise BadJson("a string holds half a surrogate pair")
    elif isinstance(value, dict | list):
        if depth == 0:
            raise BadJson(f"values are nested deeper than {DEEPEST} levels")
        for each in value:
            _check(each, depth - 1)
        if isinstance(value, dict):
            for each in value.values():
                _check(each, depth - 1)
    elif isinstance(value, int | float) and not isinstance(value, bool) and not is_finite(value):
        raise BadJson("a number is larger than every float")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadJson("an object has the same key twice")
    return found


def _constant(name: str) -> NoReturn:
    raise BadJson(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
