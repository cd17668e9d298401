"""The types of parameter: their values, how a value is drawn, and how it mutates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from random import Random
from typing import Any, ClassVar

from broodline.core.json_values import among, same
from broodline.core.parameter_rules import (
    assign,
    check_flags,
    condition_values,
    finite_number,
    init_range,
    integer_value,
    json_value,
    range_ends,
    scalars,
)
from broodline.errors import SpaceError

LEAST_MOVE = 0.02  # of the width of a linear range: a factor alone never leaves zero

Condition = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Float:
    """A number from `low` to `high`; it mutates by a factor.

    Args:
        low, high: The range, both ends included.
        log: Draw uniformly in the logarithm; needs `low` above 0.
        scale: "1-x" draws uniformly in the logarithm of 1-x, and mutates 1-x; needs `high` below 1.
        init: The narrower range that generation 0 draws from.
        when: The parameter exists only while these parameters have these values (or one of a list of values).
        mutate: False: drawn once, then kept with the weights.

    Raises:
        SpaceError: The range is empty or does not fit its scale.
    """

    low: float
    high: float
    _: KW_ONLY
    log: bool = False
    scale: str | None = None
    init: Sequence[float] | None = None
    when: Condition | None = None
    mutate: bool = True
    kind: ClassVar[str] = "float"

    def __post_init__(self) -> None:
        low, high = range_ends("float", (self.low, self.high), finite_number)
        init = None if self.init is None else init_range(self.init, low, high, finite_number)
        assign(self, low=low, high=high, init=init, when=condition_values(self.when))
        check_flags(log=self.log, mutate=self.mutate)
        if self.scale not in (None, "1-x"):
            raise SpaceError("scale", f'must be "1-x", the only scale (for a logarithmic one use `log`), got {self.scale!r}')
        if self.log and self.scale:
            raise SpaceError("scale", "must not be set together with `log`")
        if self.log and low <= 0:
            raise SpaceError("float", f"a logarithmic range must start above 0, got {low!r}")
        if self.scale and high >= 1:
            raise SpaceError("float", f'a range of scale "1-x" must end below 1, got {high!r}')

    def sample(self, rng: Random, *, first: bool = False) -> float:
        low, high = self.init if first and self.init else (self.low, self.high)
        if self.log:
            drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
        elif self.scale:
            drawn = -math.expm1(rng.uniform(math.log1p(-low), math.log1p(-high)))
        else:
            drawn = rng.uniform(low, high)
        # exp(log(x)) may differ from x in the last digit, which would leave the range at its ends.
        return min(max(drawn, low), high)

    def spread(self, points: int) -> list[float]:
        low, high = (-math.log1p(-end) if self.scale else math.log(end) if self.log else end for end in (self.low, self.high))
        between = (low + (high - low) * index / (points - 1) for index in range(1, points - 1))
        inner = [-math.expm1(-x) if self.scale else math.exp(x) if self.log else x for x in between]
        # The ends as they are written, not as exp(log(end)) rounds them.
        return [self.low, *inner, self.high]

    def mutated(self, value: float, rng: Random, factors: Sequence[float]) -> float:
        factor = rng.choice(factors)
        if self.log:
            moved = value * factor
        elif self.scale:
            moved = 1 - (1 - value) * factor
        else:
            # A factor alone can't move zero, and hardly moves a value near it.
            moved = _moved(value, factor, LEAST_MOVE * (self.high - self.low))
        return min(max(moved, self.low), self.high)

    def contains(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def lost_in(self, new: Float) -> str | None:
        return _range_lost(self, new)


@dataclass(frozen=True, slots=True)
class Int:
    """An integer from `low` to `high`; it mutates by a factor, rounded, and by at least 1. The arguments are those of `Float`."""

    low: int
    high: int
    _: KW_ONLY
    log: bool = False
    init: Sequence[int] | None = None
    when: Condition | None = None
    mutate: bool = True
    kind: ClassVar[str] = "int"

    def __post_init__(self) -> None:
        low, high = range_ends("int", (self.low, self.high), integer_value)
        init = None if self.init is None else init_range(self.init, low, high, integer_value)
        assign(self, init=init, when=condition_values(self.when))
        check_flags(log=self.log, mutate=self.mutate)
        if self.log and low < 1:
            raise SpaceError("int", f"a logarithmic range must start at 1 or above, got {low}")

    def sample(self, rng: Random, *, first: bool = False) -> int:
        low, high = self.init if first and self.init else (self.low, self.high)
        if not self.log:
            return rng.randint(low, high)
        # Half a unit more at both ends: without it the ends would be drawn half as often as they should.
        drawn = math.exp(rng.uniform(math.log(low - 0.5), math.log(high + 0.5)))
        return min(max(round(drawn), low), high)

    def spread(self, points: int) -> list[int]:
        values = Float(self.low, self.high, log=self.log).spread(points)
        # A set: a narrow range has fewer integers than points.
        return sorted({min(max(round(value), self.low), self.high) for value in values})

    def mutated(self, value: int, rng: Random, factors: Sequence[float]) -> int:
        # Rounding would undo a smaller move, and a low integer would never mutate.
        least = 1.0 if self.log else max(1.0, LEAST_MOVE * (self.high - self.low))
        moved = round(_moved(value, rng.choice(factors), least))
        return min(max(moved, self.low), self.high)

    def contains(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def lost_in(self, new: Int) -> str | None:
        return _range_lost(self, new)


@dataclass(frozen=True, slots=True)
class _Listed:
    """One of some listed values: the part that `Ordered` and `Choice` share."""

    values: Sequence[Any]
    _: KW_ONLY
    init: Sequence[Any] | None = None
    when: Condition | None = None
    mutate: bool = True
    kind: ClassVar[str]

    def __post_init__(self) -> None:
        values = scalars(self.kind, self.values)
        if len(values) < 2:
            raise SpaceError(self.kind, f"must have at least two values, got {list(values)} (write one value as it is)")
        init = None if self.init is None else scalars("init", self.init)
        if init is not None and (foreign := [value for value in init if not among(value, values)]):
            raise SpaceError("init", f"must be some of {', '.join(map(repr, values))}, got {foreign[0]!r}")
        assign(self, values=values, init=init, when=condition_values(self.when))
        check_flags(mutate=self.mutate)

    def sample(self, rng: Random, *, first: bool = False) -> Any:
        return rng.choice(self.init if first and self.init else self.values)

    def spread(self, points: int) -> Sequence[Any]:
        return self.values

    def contains(self, value: Any) -> bool:
        return among(value, self.values)


@dataclass(frozen=True, slots=True)
class Ordered(_Listed):
    """One of some values in an order; it mutates to the next lower or higher value.

    Args:
        values: At least two different strings, numbers, booleans or None.
        init: The values that generation 0 draws from.
        when, mutate: As for `Float`.
    """

    kind: ClassVar[str] = "ordered"

    def mutated(self, value: Any, rng: Random, factors: Sequence[float]) -> Any:
        # `same`, not `index()`: True == 1 in Python, and both may be listed.
        index = next(index for index, known in enumerate(self.values) if same(known, value))
        return rng.choice([*self.values[max(index - 1, 0) : index], *self.values[index + 1 : index + 2]])

    def lost_in(self, new: Ordered) -> str | None:
        left = [value for value in new.values if self.contains(value)]
        return None if left == list(self.values) else f"values {list(self.values)} -> {list(new.values)}"


@dataclass(frozen=True, slots=True)
class Choice(_Listed):
    """One of some values without an order; it mutates by being drawn again. The arguments are those of `Ordered`."""

    kind: ClassVar[str] = "choice"

    def mutated(self, value: Any, rng: Random, factors: Sequence[float]) -> Any:
        # The present value may be drawn again: a choice without an order has no next value.
        return self.sample(rng)

    def lost_in(self, new: Choice) -> str | None:
        lost = not all(new.contains(value) for value in self.values)
        return f"values {list(self.values)} -> {list(new.values)}" if lost else None


@dataclass(frozen=True, slots=True)
class Fixed:
    """A JSON value that never changes; the program receives it with the other params."""

    value: Any
    kind: ClassVar[str] = "fixed"
    init: ClassVar[None] = None
    when: ClassVar[Condition | None] = None
    mutate: ClassVar[bool] = False

    def __post_init__(self) -> None:
        assign(self, value=json_value(self.value))

    def sample(self, rng: Random, *, first: bool = False) -> Any:
        return self.value

    def spread(self, points: int) -> Sequence[Any]:
        return [self.value]

    def mutated(self, value: Any, rng: Random, factors: Sequence[float]) -> Any:
        return self.value

    def contains(self, value: Any) -> bool:
        return same(value, self.value)

    def lost_in(self, new: Fixed) -> str | None:
        return None if self.contains(new.value) else f"{self.value!r} -> {new.value!r}"


Param = Float | Int | Ordered | Choice | Fixed


def _moved(value: float, factor: float, least: float) -> float:
    """`value` times `factor`, or `least` away in that direction; from zero, a factor above 1 moves up."""
    moved = value * factor
    if abs(moved - value) >= least:
        return moved
    return value + math.copysign(least, (factor - 1) * (1 if value >= 0 else -1))


def _range_lost(old: Float | Int, new: Float | Int) -> str | None:
    lost = new.low > old.low or new.high < old.high
    return f"range [{old.low!r}, {old.high!r}] -> [{new.low!r}, {new.high!r}] is narrower" if lost else None
