"""The types of parameter: what each may be, how it is drawn, and how it mutates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from random import Random
from typing import Any, ClassVar

from broodline.core.json_values import LARGEST_INT, among, is_finite, same
from broodline.errors import SpaceError

LEAST_MOVE = 0.02  # of a linear range's width, so that zero is no trap

Condition = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Float:
    """A number from `low` to `high`; it mutates by a factor.

    Args:
        low, high: The range, both ends included.
        log: Draw uniformly in the logarithm; needs `low` above 0.
        scale: "1-x" draws uniformly in the logarithm of 1-x, and mutates 1-x; needs `high` below 1.
        init: The narrower range of the draw of generation 0.
        when: It exists only while these parameters have these values (or one of a list of values).
        mutate: False: drawn once, then kept with the weights.

    Raises:
        SpaceError: The range is empty or does not suit its scale.
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
        low, high = _range("float", (self.low, self.high), _number)
        init = None if self.init is None else _init_range(self.init, low, high, _number)
        _assign(self, low=low, high=high, init=init, when=_condition(self.when))
        _check_flags(log=self.log, mutate=self.mutate)
        if self.scale not in (None, "1-x"):
            raise SpaceError("scale", f'{self.scale!r} is no scale; the only one is "1-x" (logarithmic is `log`)')
        if self.log and self.scale:
            raise SpaceError("scale", "a range has `log` or `scale`, not both")
        if self.log and low <= 0:
            raise SpaceError("float", f"a logarithmic range starts above 0, not at {low!r}")
        if self.scale and high >= 1:
            raise SpaceError("float", f'a range of scale "1-x" ends below 1, not at {high!r}')

    def sample(self, rng: Random, *, first: bool = False) -> float:
        low, high = self.init if first and self.init else (self.low, self.high)
        if self.log:
            drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
        elif self.scale:
            drawn = -math.expm1(rng.uniform(math.log1p(-low), math.log1p(-high)))
        else:
            drawn = rng.uniform(low, high)
        return min(max(drawn, low), high)

    def spread(self, points: int) -> list[float]:
        low, high = (-math.log1p(-end) if self.scale else math.log(end) if self.log else end for end in (self.low, self.high))
        between = (low + (high - low) * index / (points - 1) for index in range(1, points - 1))
        inner = [-math.expm1(-x) if self.scale else math.exp(x) if self.log else x for x in between]
        return [self.low, *inner, self.high]

    def mutated(self, value: float, rng: Random, factors: Sequence[float]) -> float:
        factor = rng.choice(factors)
        if self.log:
            moved = value * factor
        elif self.scale:
            moved = 1 - (1 - value) * factor
        else:
            moved = _moved(value, factor, LEAST_MOVE * (self.high - self.low))
        return min(max(moved, self.low), self.high)

    def contains(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def lost_in(self, new: Float) -> str | None:
        return _range_lost(self, new)


@dataclass(frozen=True, slots=True)
class Int:
    """An integer from `low` to `high`; it mutates by a factor, rounded, and by at least 1. Arguments as of `Float`."""

    low: int
    high: int
    _: KW_ONLY
    log: bool = False
    init: Sequence[int] | None = None
    when: Condition | None = None
    mutate: bool = True
    kind: ClassVar[str] = "int"

    def __post_init__(self) -> None:
        low, high = _range("int", (self.low, self.high), _integer)
        init = None if self.init is None else _init_range(self.init, low, high, _integer)
        _assign(self, init=init, when=_condition(self.when))
        _check_flags(log=self.log, mutate=self.mutate)
        if self.log and low < 1:
            raise SpaceError("int", f"a logarithmic range starts at 1 or above, not at {low}")

    def sample(self, rng: Random, *, first: bool = False) -> int:
        low, high = self.init if first and self.init else (self.low, self.high)
        if not self.log:
            return rng.randint(low, high)
        # Half a unit more at both ends: else these would be drawn half as often as they should.
        drawn = math.exp(rng.uniform(math.log(low - 0.5), math.log(high + 0.5)))
        return min(max(round(drawn), low), high)

    def spread(self, points: int) -> list[int]:
        values = Float(self.low, self.high, log=self.log).spread(points)
        return sorted({min(max(round(value), self.low), self.high) for value in values})

    def mutated(self, value: int, rng: Random, factors: Sequence[float]) -> int:
        least = 1.0 if self.log else max(1.0, LEAST_MOVE * (self.high - self.low))
        moved = round(_moved(value, rng.choice(factors), least))
        return min(max(moved, self.low), self.high)

    def contains(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def lost_in(self, new: Int) -> str | None:
        return _range_lost(self, new)


@dataclass(frozen=True, slots=True)
class Ordered:
    """One of some values in an order; it mutates to the next lower or higher.

    Args:
        values: At least two, all different: texts, numbers, booleans or None.
        init: Those of which generation 0 draws.
        when, mutate: As of `Float`.
    """

    values: Sequence[Any]
    _: KW_ONLY
    init: Sequence[Any] | None = None
    when: Condition | None = None
    mutate: bool = True
    kind: ClassVar[str] = "ordered"

    def __post_init__(self) -> None:
        _check_values(self)

    def sample(self, rng: Random, *, first: bool = False) -> Any:
        return rng.choice(self.init if first and self.init else self.values)

    def spread(self, points: int) -> Sequence[Any]:
        return self.values

    def mutated(self, value: Any, rng: Random, factors: Sequence[float]) -> Any:
        index = next(index for index, known in enumerate(self.values) if same(known, value))
        return rng.choice([*self.values[max(index - 1, 0) : index], *self.values[index + 1 : index + 2]])

    def contains(self, value: Any) -> bool:
        return among(value, self.values)

    def lost_in(self, new: Ordered) -> str | None:
        left = [value for value in new.values if self.contains(value)]
        return None if left == list(self.values) else f"values {list(self.values)} -> {list(new.values)}"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values without an order; it mutates by being drawn again. Arguments as of `Ordered`."""

    values: Sequence[Any]
    _: KW_ONLY
    init: Sequence[Any] | None = None
    when: Condition | None = None
    mutate: bool = True
    kind: ClassVar[str] = "choice"

    def __post_init__(self) -> None:
        _check_values(self)

    def sample(self, rng: Random, *, first: bool = False) -> Any:
        return rng.choice(self.init if first and self.init else self.values)

    def spread(self, points: int) -> Sequence[Any]:
        return self.values

    def mutated(self, value: Any, rng: Random, factors: Sequence[float]) -> Any:
        return self.sample(rng)

    def contains(self, value: Any) -> bool:
        return among(value, self.values)

    def lost_in(self, new: Choice) -> str | None:
        lost = not all(new.contains(value) for value in self.values)
        return f"values {list(self.values)} -> {list(new.values)}" if lost else None


@dataclass(frozen=True, slots=True)
class Fixed:
    """A JSON value that never changes, handed to the program with the others."""

    value: Any
    kind: ClassVar[str] = "fixed"
    init: ClassVar[None] = None
    when: ClassVar[Condition | None] = None
    mutate: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _assign(self, value=_json(self.value))

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
    """`value` times `factor`, or `least` away in that direction; from zero, a factor above 1 goes up."""
    moved = value * factor
    if abs(moved - value) >= least:
        return moved
    return value + math.copysign(least, (factor - 1) * (1 if value >= 0 else -1))


def _range_lost(old: Float | Int, new: Float | Int) -> str | None:
    lost = new.low > old.low or new.high < old.high
    return f"range [{old.low!r}, {old.high!r}] -> [{new.low!r}, {new.high!r}] is narrower" if lost else None


def _assign(param: Any, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(param, name, value)


def _range(key: str, ends: Sequence[Any], number: Callable[[str, Any], Any]) -> tuple[Any, Any]:
    low, high = number(key, ends[0]), number(key, ends[1])
    if not low < high:
        raise SpaceError(key, f"the range [{low!r}, {high!r}] is empty: low must be less than high (write one value as it is)")
    if not math.isfinite(high - low):
        raise SpaceError(key, f"the range [{low!r}, {high!r}] is too wide: high - low must be a finite number")
    return low, high


def _init_range(init: Any, low: Any, high: Any, number: Callable[[str, Any], Any]) -> tuple[Any, Any]:
    if not isinstance(init, list | tuple) or len(init) != 2:
        raise SpaceError("init", f"must be [low, high], not {init!r}")
    first, last = number("init", init[0]), number("init", init[1])
    if not low <= first <= last <= high:
        raise SpaceError("init", f"[{first!r}, {last!r}] must be a part of the range [{low!r}, {high!r}]")
    return first, last


def _number(key: str, value: Any) -> float:
    if not is_finite(value):
        raise SpaceError(key, f"{value!r} must be a finite number")
    return float(value)


def _integer(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST_INT:
        raise SpaceError(key, f"{value!r} must be an integer, of no more than 2**53")
    return value


def _check_flags(**flags: Any) -> None:
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise SpaceError(name, f"must be true or false, not {flag!r}")


def _condition(when: Any) -> Condition | None:
    if when is None:
        return None
    if not isinstance(when, Mapping) or not when:
        raise SpaceError("when", f'must name parameters and their values, such as {{ optimizer = "sgd" }}, not {when!r}')
    return {name: _scalars(f"when.{name}", v if isinstance(v, list | tuple) else (v,)) for name, v in when.items()}


def _check_values(param: Ordered | Choice) -> None:
    values = _scalars(param.kind, param.values)
    if len(values) < 2:
        raise SpaceError(param.kind, f"needs at least two values, not {list(values)} (write one value as it is)")
    init = None if param.init is None else _scalars("init", param.init)
    if init is not None and (foreign := [value for value in init if not among(value, values)]):
        raise SpaceError("init", f"{foreign[0]!r} is not one of {', '.join(map(repr, values))}")
    _assign(param, values=values, init=init, when=_condition(param.when))
    _check_flags(mutate=param.mutate)


def _scalars(key: str, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple) or not values:
        raise SpaceError(key, f"must be a list of values, not {values!r}")
    for index, value in enumerate(values):
        if not _is_scalar(value):
            raise SpaceError(key, f"{value!r} must be a text, a finite number or a boolean")
        if among(value, values[:index]):
            raise SpaceError(key, f"{value!r} is listed twice")
    return tuple(values)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _json(value: Any) -> Any:
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_json(each) for each in value]
    if not _is_scalar(value):
        raise SpaceError("fixed", f"{value!r} must be a JSON value: a text, a finite number, a boolean, a list or a table")
    return value
