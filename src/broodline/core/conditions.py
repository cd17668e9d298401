"""The conditions of parameters: a parameter exists only while others have certain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broodline.core.json_values import among
from broodline.core.parameters import Condition, Fixed, Float, Int, Param
from broodline.errors import SpaceError


def holds(when: Condition | None, params: Mapping[str, Any]) -> bool:
    """Whether a condition holds for the params that a trial has so far."""
    return all(name in params and among(params[name], values) for name, values in (when or {}).items())


def check_condition(name: str, param: Param, params: Mapping[str, Param]) -> None:
    """Requires that the condition of a parameter names other parameters and values that they can have.

    Raises:
        SpaceError: It does not; the error names the key of the condition.
    """
    for on, values in (param.when or {}).items():
        key, condition = f"{name}.when.{on}", params.get(on)
        if condition is None:
            known = ", ".join(other for other in params if other != name)
            raise SpaceError(key, f"unknown parameter '{on}'; known: {known or 'none'}")
        if isinstance(condition, Float):
            raise SpaceError(key, "must be a choice, ordered, int or fixed parameter; a condition can't be on a float")
        # A fixed parameter is a switch in the study file: any value may be compared with it, also one that it does not have now.
        never = [value for value in values if not isinstance(condition, Fixed) and not condition.contains(value)]
        if never:
            raise SpaceError(key, f"must be a value of '{on}', {_allowed(condition)}, got {never[0]!r}")


def _allowed(param: Param) -> str:
    if isinstance(param, Float | Int):
        return f"from {param.low!r} to {param.high!r}"
    return "one of " + ", ".join(map(repr, (param.value,) if isinstance(param, Fixed) else param.values))


def conditions_first(params: Mapping[str, Param]) -> dict[str, Param]:
    """The parameters in an order in which each comes after those that its condition names.

    Raises:
        SpaceError: Conditions depend on each other.
    """
    placed: dict[str, Param] = {}
    waiting = dict(params)
    while waiting:
        ready = [name for name, param in waiting.items() if not set(param.when or ()) & set(waiting)]
        if not ready:
            raise SpaceError(f"{next(iter(waiting))}.when", f"the conditions of {', '.join(waiting)} form a circle")
        placed |= {name: waiting.pop(name) for name in ready}
    return placed
