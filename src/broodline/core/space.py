"""The search space: how params are drawn, and how a child's params follow from its parent's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from broodline.core.conditions import check_condition, conditions_first, holds
from broodline.core.json_values import same
from broodline.core.parameters import Choice, Fixed, Float, Int, Ordered, Param
from broodline.core.trial import Change
from broodline.errors import SpaceError

__all__ = ["Choice", "Fixed", "Float", "Int", "Ordered", "Param", "Space"]


@dataclass(frozen=True, slots=True, init=False)
class Space:
    """The parameters by name, each after the parameters that its condition names.

    Args:
        params: Parameter types; a plain value is fixed.

    Raises:
        SpaceError: The space is empty, or a condition can't hold.
    """

    params: Mapping[str, Param]

    def __init__(self, params: Mapping[str, Any]) -> None:
        if not params:
            raise SpaceError("", "must have at least one parameter")
        typed = {name: _typed(name, param) for name, param in params.items()}
        for name, param in typed.items():
            check_condition(name, param, typed)
        object.__setattr__(self, "params", conditions_first(typed))

    def draw(self, rng: Random) -> tuple[dict[str, Any], dict[str, Change]]:
        """Draws the params of a trial that starts from nothing; returns them and the change of each."""
        params: dict[str, Any] = {}
        changes: dict[str, Change] = {}
        # Conditions come before the parameters that depend on them (`conditions_first`), so one pass suffices.
        for name, param in self.params.items():
            if holds(param.when, params):
                params[name] = param.sample(rng, first=True)
                changes[name] = Change.KEPT if isinstance(param, Fixed) else Change.DRAWN
        return params, changes

    def chosen(self, params: Mapping[str, Any]) -> dict[str, Change]:
        """The changes of a trial that starts from nothing with given params: `drawn`, or `kept` if fixed."""
        return {name: Change.KEPT if isinstance(self.params[name], Fixed) else Change.DRAWN for name in params}

    def followed(self, parent: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Change]:
        """The changes of a child with given params: `kept` if equal to its parent's, else `mutated`, or `drawn` if new."""
        return {
            name: Change.DRAWN if name not in parent else Change.KEPT if same(parent[name], value) else Change.MUTATED
            for name, value in params.items()
        }

    def suggested(self, suggest: Callable[[str, Param], Any]) -> dict[str, Any]:
        """The params of a trial that starts from nothing. Each value is suggested once its condition is known to hold.

        Args:
            suggest: Returns the value of a parameter that is not fixed.
        """
        params: dict[str, Any] = {}
        for name, param in self.params.items():
            if holds(param.when, params):
                params[name] = param.value if isinstance(param, Fixed) else suggest(name, param)
        return params

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
        """Makes a child's params from its parent's; returns them and the change of each, exactly one per parameter.

        Args:
            parent: The params of the parent.
            other: The params of the other contestant, for crossover.
            rng: The only source of randomness, drawn from for each parameter separately.
            mutate: The probability that a parameter which is not crossed mutates.
            resample: The probability that a parameter which mutates is drawn from its whole range instead.
            crossover: The probability that a parameter is taken from `other`, with the parameters that depend on it.
            factors: A number is multiplied by one of these, drawn uniformly.
        """
        inheritance = _Inheritance(parent, other or {}, rng, mutate, resample, crossover, factors)
        params: dict[str, Any] = {}
        changes: dict[str, Change] = {}
        for name, param in self.params.items():
            if not holds(param.when, params):
                continue
            # A value is meaningful only under the condition it was tuned with, so it crosses together with its condition.
            follows = any(changes[on] is Change.CROSSED for on in param.when or ())
            changes[name] = inheritance.change(name, param, follows=follows)
            params[name] = inheritance.value(name, param, changes[name])
        return params, {name: inheritance.recorded(name, params[name], change) for name, change in changes.items()}

    def problems(self, params: Mapping[str, Any]) -> list[str]:
        """The problems of a trial's params, one line each; empty if they are in the space."""
        found = [f"{name}: unknown parameter" for name in params if name not in self.params]
        for name, param in self.params.items():
            exists = holds(param.when, params)
            if exists and name not in params:
                found.append(f"{name}: is missing")
            elif not exists and name in params:
                found.append(f"{name}: exists although its condition does not hold")
            elif exists and not param.contains(params[name]):
                found.append(f"{name}: {params[name]!r} is not in its range")
        return found

    def widened_by(self, new: Space) -> list[str]:
        """The differences of a new space that an existing study does not allow: all but growing ranges and lists of values."""
        gone = [f"{name}: removed" for name in self.params if name not in new.params]
        added = [f"{name}: added" for name in new.params if name not in self.params]
        both = [name for name in self.params if name in new.params]
        differ = [f"{name}: {lost}" for name in both if (lost := _refused(self.params[name], new.params[name]))]
        return gone + added + differ


@dataclass(frozen=True, slots=True)
class _Inheritance:
    """The params of one child; the fields are the arguments of `Space.evolve`."""

    parent: Mapping[str, Any]
    other: Mapping[str, Any]
    rng: Random
    mutate: float
    resample: float
    crossover: float
    factors: Sequence[float]

    def change(self, name: str, param: Param, *, follows: bool) -> Change:
        """Decides on the change of one parameter; `follows`: a parameter that its condition names is crossed."""
        if isinstance(param, Fixed):
            return Change.KEPT
        crosses = follows or (name in self.parent and self.rng.random() < self.crossover)
        if param.mutate and name in self.other and crosses:
            return Change.CROSSED
        # The parent did not have the parameter, because its condition did not hold there: nothing can be inherited.
        if name not in self.parent:
            return Change.DRAWN
        if not param.mutate or self.rng.random() >= self.mutate:
            return Change.KEPT
        return Change.RESAMPLED if self.rng.random() < self.resample else Change.MUTATED

    def recorded(self, name: str, value: Any, change: Change) -> Change:
        """The change as it is recorded: a mutation or a resampling that gave the parent's value again has kept it."""
        unchanged = name in self.parent and same(self.parent[name], value)
        return Change.KEPT if unchanged and change in (Change.MUTATED, Change.RESAMPLED) else change

    def value(self, name: str, param: Param, change: Change) -> Any:
        """The value after that change."""
        match change:
            case Change.CROSSED:
                return self.other[name]
            case Change.MUTATED:
                return param.mutated(self.parent[name], self.rng, self.factors)
            case Change.KEPT:
                return param.value if isinstance(param, Fixed) else self.parent[name]
            case _:
                return param.sample(self.rng)


def _typed(name: str, param: Any) -> Param:
    if isinstance(param, Param):
        return param
    if isinstance(param, list | tuple | dict):
        raise SpaceError(
            name, f"must be a parameter type (float, int, ordered, choice, fixed), a string, a number or a boolean, got {param!r}"
        )
    return Fixed(param)


def _refused(old: Param, new: Param) -> str | None:
    if old.kind != new.kind:
        return f"type {old.kind} -> {new.kind}"
    for field in ("log", "scale", "init", "when", "mutate"):
        before, after = getattr(old, field, None), getattr(new, field, None)
        if before != after:
            return f"{field} {before!r} -> {after!r}"
    # A grown range or list is no difference: each value that a trial has is still valid.
    return old.lost_in(new)  # type: ignore[arg-type]  # they are of one kind
