"""Finds implementations by name, among the entry points of all installed packages; broodline's own are entry points too."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from typing import Any

from broodline.core.strategy import Strategy
from broodline.errors import UsageError

STRATEGIES = "broodline.strategies"


@lru_cache(maxsize=64)
def load_strategy(name: str) -> Strategy:
    """The strategy of that name.

    Raises:
        UsageError: No installed package has it.
    """
    strategy: Strategy = _load(STRATEGIES, name)()
    return strategy


def _load(group: str, name: str) -> Any:
    found = _own(group).get(name) or next(iter(entry_points(group=group, name=name)), None)
    if found is None:
        known = ", ".join(sorted({point.name for point in entry_points(group=group)}))
        raise UsageError(f"there is no '{name}' in {group} (known: {known})")
    return found.load()


def _own(group: str) -> dict[str, EntryPoint]:
    """Our own entry points, looked at first: reading those of a large environment takes long."""
    try:
        points = distribution("broodline").entry_points
    except PackageNotFoundError:
        return {}
    return {point.name: point for point in points if point.group == group}
