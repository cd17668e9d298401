"""The search space: how params are drawn, and how a child's come from those of its parent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from broodline.core.json_values import among, same
from broodline.core.parameters import Choice, Condition, Fixed, Float, Int, Ordered, Param
from broodline.core.trial import Change
from broodline.errors import SpaceError

__all__ = ["Choice", "Fixed", "Float", "Int", "Ordered", "Param", "Space"]


@dataclass(frozen=True, slots=True, init=False)
class Space:
    """The parameters by name, each after those that its condition names.

    Args:
        params: Parameter types; a plain value is fixed.

    Raises:
        SpaceError: It is empty, or a condition can't hold.
    """

    params: Mapping[str, Param]

    def __init__(self, params: Mapping[str, Any]) -> None:
        if not params:
            raise SpaceError("", "it is empty; it needs at least one parameter")
        typed = {name: _typed(name, param) for name, param in params.items()}
        for name, param in typed.items():
            _check_condition(name, param, typed)
        object.__setattr__(self, "params", _conditions_first(typed))

    def draw(self, rng: Random) -> tuple[dict[str, Any], dict[str, Change]]:
        """Draws the params of a trial that starts from nothing; returns them and what happened to each."""
        params: dict[str, Any] = {}
        changes: dict[str, Change] = {}
        for name, param in self.params.items():
            if _holds(param.when, params):
                params[name] = param.sample(rng, first=True)
                changes[name] = Change.KEPT if isinstance(param, Fixed) else Change.DRAWN
        return params, changes

    def chosen(self, params: Mapping[str, Any]) -> dict[str, Change]:
        """What happened to params that a trial starts from nothing with: `drawn`, or `kept` if they are fixed."""
        return {name: Change.KEPT if isinstance(self.params[name], Fixed) else Change.DRAWN for name in params}

    def followed(self, parent: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Change]:
        """What happened to a child's params that were given: `kept` as its parent's, else `mutated`, or `drawn` if new."""
        return {
            name: Change.DRAWN if name not in parent else Change.KEPT if same(parent[name], value) else Change.MUTATED
            for name, value in params.items()
        }

    def suggested(self, suggest: Callable[[str, Param], Any]) -> dict[str, Any]:
        """The params of a trial that starts from nothing, one value after the other, each once its condition is known to hold.

        Args:
            suggest: Returns the value of a parameter that is not fixed.
        """
        params: dict[str, Any] = {}
        for name, param in self.params.items():
            if _holds(param.when, params):
                params[name] = param.value if isinstance(param, Fixed) else suggest(name, param)
        return params

    def grid(self, points: int) -> Iterator[dict[str, Any]]:
        """All combinations of the values of a grid, the last parameter changing fastest.

        Args:
            points: Into how many values a range is divided, both ends among them: evenly in what is drawn uniformly, so
                evenly in the logarithm where that is so. A choice or an ordered parameter has all of its values.
        """
        return self._combined({}, list(self.params.items()), points)

    def _combined(self, chosen: dict[str, Any], left: list[tuple[str, Param]], points: int) -> Iterator[dict[str, Any]]:
        if not left:
            yield chosen
            return
        (name, param), *others = left
        if not _holds(param.when, chosen):
            yield from self._combined(chosen, others, points)
            return
        for value in param.spread(points):
            yield from self._combined({**chosen, name: value}, others, points)

    def evolve(
        self,
        parent: Mapping[str, Any],
        other: Mapping[str, Any] | None,
        rng: Random,
        *,
        mutate: float,
        resample: float,
        crossover: float,
        factors: Sequence[float],
    ) -> tuple[dict[str, Any], dict[str, Change]]:
        """Makes a child's params from its parent's; returns them and what happened to each: exactly one thing.

        Args:
            parent: The params of the parent.
            other: The params of the other contestant, for crossover.
            rng: The only source of chance, drawn from for each parameter apart.
            mutate: The probability that a parameter which is not crossed mutates.
            resample: The probability that one which mutates is drawn again from its range instead.
            crossover: The probability that a parameter is taken from `other`, with what depends on it.
            factors: What a number is multiplied by; one is drawn.
        """
        birth = _Inheritance(parent, other or {}, rng, mutate, resample, crossover, factors)
        params: dict[str, Any] = {}
        changes: dict[str, Change] = {}
        for name, param in self.params.items():
            if not _holds(param.when, params):
                continue
            follows = any(changes[on] is Change.CROSSED for on in param.when or ())
            changes[name] = birth.change(name, param, follows=follows)
            params[name] = birth.value(name, param, changes[name])
        return params, changes

    def problems(self, params: Mapping[str, Any]) -> list[str]:
        """What is wrong with a trial's params, one line each; empty if they are in the space."""
        found = [f"{name}: there is no such parameter" for name in params if name not in self.params]
        for name, param in self.params.items():
            exists = _holds(param.when, params)
            if exists and name not in params:
                found.append(f"{name}: is missing")
            elif not exists and name in params:
                found.append(f"{name}: exists although its condition does not hold")
            elif exists and not param.contains(params[name]):
                found.append(f"{name}: {params[name]!r} is not in its range")
        return found

    def widened_by(self, new: Space) -> list[str]:
        """What differs in a new space and may not, one line each: all but ranges and lists of values that only grow."""
        gone = [f"{name}: removed" for name in self.params if name not in new.params]
        added = [f"{name}: added" for name in new.params if name not in self.params]
        both = [name for name in self.params if name in new.params]
        differ = [f"{name}: {lost}" for name in both if (lost := _refused(self.params[name], new.params[name]))]
        return gone + added + differ


@dataclass(frozen=True, slots=True)
class _Inheritance:
    """How one child comes by its params; the fields are the arguments of `Space.evolve`."""

    parent: Mapping[str, Any]
    other: Mapping[str, Any]
    rng: Random
    mutate: float
    resample: float
    crossover: float
    factors: Sequence[float]

    def change(self, name: str, param: Param, *, follows: bool) -> Change:
        """Decides what happens to one parameter; `follows`: one that its condition names is crossed."""
        if isinstance(param, Fixed):
            return Change.KEPT
        crosses = follows or (name in self.parent and self.rng.random() < self.crossover)
        if param.mutate and name in self.other and crosses:
            return Change.CROSSED
        if name not in self.parent:
            return Change.DRAWN
        if not param.mutate or self.rng.random() >= self.mutate:
            return Change.KEPT
        return Change.RESAMPLED if self.rng.random() < self.resample else Change.MUTATED

    def value(self, name: str, param: Param, change: Change) -> Any:
        """The value that follows from it."""
        match change:
            case Change.CROSSED:
                return self.other[name]
            case Change.MUTATED:
                return param.mutated(self.parent[name], self.rng, self.factors)
            case Change.KEPT:
                return param.value if isinstance(param, Fixed) else self.parent[name]
            case _:
                return param.sample(self.rng)


def _holds(when: Condition | None, params: Mapping[str, Any]) -> bool:
    return all(name in params and among(params[name], values) for name, values in (when or {}).items())


def _typed(name: str, param: Any) -> Param:
    if isinstance(param, Param):
        return param
    if isinstance(param, list | tuple | dict):
        raise SpaceError(
            name, f"{param!r} is neither a parameter type (float, int, ordered, choice, fixed) nor a text, a number or a boolean"
        )
    return Fixed(param)


def _check_condition(name: str, param: Param, params: Mapping[str, Param]) -> None:
    for on, values in (param.when or {}).items():
        key, condition = f"{name}.when.{on}", params.get(on)
        if condition is None:
            known = ", ".join(other for other in params if other != name)
            raise SpaceError(key, f"there is no parameter '{on}' (there are: {known or 'no others'})")
        if isinstance(condition, Float):
            raise SpaceError(key, "a condition can't be on a float; only on choice, ordered, int and fixed ones")
        never = [value for value in values if not isinstance(condition, Fixed) and not condition.contains(value)]
        if never:
            raise SpaceError(key, f"'{on}' is never {never[0]!r}; it is {_allowed(condition)}")


def _allowed(param: Param) -> str:
    if isinstance(param, Float | Int):
        return f"from {param.low!r} to {param.high!r}"
    return "one of " + ", ".join(map(repr, (param.value,) if isinstance(param, Fixed) else param.values))


def _conditions_first(params: Mapping[str, Param]) -> dict[str, Param]:
    placed: dict[str, Param] = {}
    waiting = dict(params)
    while waiting:
        ready = [name for name, param in waiting.items() if not set(param.when or ()) & set(waiting)]
        if not ready:
            raise SpaceError(f"{next(iter(waiting))}.when", f"the conditions of {', '.join(waiting)} go round in a circle")
        placed |= {name: waiting.pop(name) for name in ready}
    return placed


def _refused(old: Param, new: Param) -> str | None:
    if old.kind != new.kind:
        return f"type {old.kind} -> {new.kind}"
    for field in ("log", "scale", "init", "when", "mutate"):
        before, after = getattr(old, field, None), getattr(new, field, None)
        if before != after:
            return f"{field} {before!r} -> {after!r}"
    return old.lost_in(new)  # type: ignore[arg-type]  # they are of one kind
