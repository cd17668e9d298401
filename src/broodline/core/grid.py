"""The grid over a search space: all combinations of the values of its parameters, and each of them by its index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from broodline.core.conditions import holds
from broodline.core.parameters import Param


def combinations(params: Mapping[str, Param], points: int) -> Iterator[dict[str, Any]]:
    """All combinations of the values of a grid, the last parameter changing fastest.

    Args:
        params: The parameters, each after those that its condition names.
        points: How many values each range has, both ends included. They are evenly spaced in the uniform scale of the
            parameter, such as the logarithm. A choice or an ordered parameter has all of its values.
    """
    return _combined({}, list(params.items()), points)


def _combined(chosen: dict[str, Any], left: list[tuple[str, Param]], points: int) -> Iterator[dict[str, Any]]:
    if not left:
        yield chosen
        return
    (name, param), *others = left
    if not holds(param.when, chosen):
        yield from _combined(chosen, others, points)
        return
    for value in param.spread(points):
        yield from _combined({**chosen, name: value}, others, points)


def combination(params: Mapping[str, Param], points: int, index: int) -> dict[str, Any]:
    """The combination at an index of `combinations`, found without a walk through those before it.

    Args:
        params, points: As for `combinations`.
        index: Counted from 0, below the size of the grid.
    """
    chosen: dict[str, Any] = {}
    left = list(params.items())
    while left:
        name, param = left.pop(0)
        if not holds(param.when, chosen):
            continue
        values = param.spread(points)
        # Under each value of such a parameter the grid of the others has one size; else the sizes differ from value to value.
        if not _decides(name, left):
            place, index = divmod(index, _size(chosen, left, points))
            chosen[name] = values[place]
            continue
        for value in values:
            size = _size({**chosen, name: value}, left, points)
            if index < size:
                chosen[name] = value
                break
            index -= size
    return chosen


def _size(chosen: Mapping[str, Any], left: Sequence[tuple[str, Param]], points: int) -> int:
    """How many combinations the remaining params of a grid have.

    A param on which no other depends multiplies the size. The values of the others are tried one by one: choices, mostly few.
    """
    if not left:
        return 1
    (name, param), *others = left
    if not holds(param.when, chosen):
        return _size(chosen, others, points)
    values = param.spread(points)
    if _decides(name, others):
        return sum(_size({**chosen, name: value}, others, points) for value in values)
    return len(values) * _size(chosen, others, points)


def _decides(name: str, others: Sequence[tuple[str, Param]]) -> bool:
    return any(name in (other.when or {}) for _, other in others)
