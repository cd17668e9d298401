"""The table [space]: parameter types from plain values, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from broodline.config.fields import ConfigTable, describe, nearest
from broodline.config.programs import PLACEHOLDERS
from broodline.core.parameters import Choice, Fixed, Float, Int, Ordered, Param
from broodline.core.space import Space
from broodline.errors import SpaceError

IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
KINDS: Mapping[str, type[Param]] = {kind.kind: kind for kind in (Float, Int, Ordered, Choice, Fixed)}
_FORMS = "{ float = [low, high] }, { int = [low, high] }, { ordered = [values] } or { choice = [values] }"


def parse_space(table: ConfigTable) -> Space:
    """Reads [space]; values that are parameter types already, from Python, stay as they are.

    Raises:
        DocumentError: A parameter breaks a rule.
    """
    params = {name: _param(table, name) for name in table.values}
    try:
        return Space(params)
    except SpaceError as error:
        raise table.error(error.key, error.problem) from None


def dump_space(space: Space) -> dict[str, Any]:
    """The table of a space; `parse_space` makes the same space of it."""
    return {name: _dump_param(param) for name, param in space.params.items()}


def check_identifier(table: ConfigTable, name: str, what: str, reserved: tuple[str, ...]) -> None:
    """Refuses a name that is not valid in a command or an environment variable, or that is reserved.

    Raises:
        DocumentError: The name is refused.
    """
    if not re.fullmatch(IDENTIFIER, str(name)):
        raise table.error(str(name), f"the name of a {what} must be letters, digits and '_', and must not start with a digit")
    if name in reserved:
        raise table.error(name, f"'{name}' is reserved; a {what} must not be named {', '.join(reserved)}")


def keyword_fields(kind: type[Param]) -> tuple[str, ...]:
    """The optional keys of a parameter type."""
    return tuple(field.name for field in fields(kind) if field.kw_only)


def _param(table: ConfigTable, name: str) -> Param:
    check_identifier(table, name, "parameter", PLACEHOLDERS)
    value = table.values[name]
    if isinstance(value, Param):
        return value
    if isinstance(value, Mapping):
        return _typed_param(table.table(name))
    problem = f"must be {_FORMS}, or one value (a string, a finite number, a boolean), got {describe(value)}"
    if isinstance(value, list | tuple):
        raise table.error(name, problem)
    try:
        return Fixed(value)
    except SpaceError:
        raise table.error(name, problem) from None


def _typed_param(table: ConfigTable) -> Param:
    kinds = [kind for kind in KINDS if kind in table.values]
    if not kinds:
        hint = "".join(nearest(str(name), tuple(KINDS)) for name in table.values)
        raise table.error("", f"has no type{hint}; it must be {_FORMS}")
    if len(kinds) > 1:
        raise table.error("", f"has the types {' and '.join(kinds)}; it must have one of them")
    kind = KINDS[kinds[0]]
    table.check_names((kind.kind, *keyword_fields(kind)))
    value = table.values[kind.kind]
    is_range = kind in (Float, Int)
    if is_range and not (isinstance(value, list | tuple) and len(value) == 2):
        raise table.error(kind.kind, f"must be a range [low, high], got {describe(value)}")
    options = {name: table.values[name] for name in keyword_fields(kind) if name in table.values}
    try:
        return kind(*(value if is_range else [value]), **options)
    except SpaceError as error:
        raise table.error(error.key, error.problem) from None


def _dump_param(param: Param) -> dict[str, Any]:
    if isinstance(param, Fixed):
        return {"fixed": param.value}
    first = [param.low, param.high] if isinstance(param, Float | Int) else list(param.values)
    options = {name: getattr(param, name) for name in keyword_fields(type(param))}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items() if value is not None}
    return {param.kind: first, **plain}
