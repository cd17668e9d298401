"""Implementations by name, found among the entry points of all installed packages; broodline's own are entry points too.

One registry for each plug-in point. To add an implementation, install a package with an entry point in its group::

    [project.entry-points."broodline.strategies"]
    my_strategy = "my_package.my_module:MyStrategy"
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from typing import Any

from broodline.errors import UsageError


@dataclass(frozen=True, slots=True)
class Registry:
    """The implementations of one plug-in point.

    Args:
        group: The group of entry points.
        kind: The noun for one of them in messages, such as "strategy".
    """

    group: str
    kind: str

    def names(self) -> tuple[str, ...]:
        """The names of all installed implementations, sorted; reads the metadata of all packages."""
        return tuple(sorted({point.name for point in entry_points(group=self.group)}))

    def has(self, name: str) -> bool:
        """True if an installed package has that name; imports nothing."""
        return name in _own(self.group) or name in self.names()

    def load(self, name: str) -> Any:
        """Imports and returns the implementation of that name.

        Raises:
            UsageError: No installed package has it, or its import fails.
        """
        return _loaded(self, name)


@cache
def _loaded(registry: Registry, name: str) -> Any:
    # Our own entry points first: reading those of a large environment is slow.
    point = _own(registry.group).get(name) or next(iter(entry_points(group=registry.group, name=name)), None)
    if point is None:
        raise UsageError(f"unknown {registry.kind} '{name}'; installed: {', '.join(registry.names())}")
    try:
        with _collection_paused():
            return point.load()
    except Exception as error:  # a plug-in is code of another package: its import can fail in any way
        problem = f"{type(error).__name__}: {error}"
        raise UsageError(f"the {registry.kind} '{name}' ({point.value}) can't be imported: {problem}") from error


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Pauses garbage collection: an import allocates much and frees little, so a large one spends a tenth of its time in it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@cache
def _own(group: str) -> dict[str, EntryPoint]:
    try:
        points = distribution("broodline").entry_points
    except PackageNotFoundError:  # run from a source tree that is not installed
        return {}
    return {point.name: point for point in points if point.group == group}


STRATEGIES = Registry("broodline.strategies", "strategy")
STORES = Registry("broodline.stores", "store")
STORE_FILES = Registry("broodline.store_files", "place of a store's files")
STORE_UPGRADES = Registry("broodline.store_upgrades", "upgrade of a store")
CHECKPOINT_STORES = Registry("broodline.checkpoint_stores", "checkpoint store")
ENGINES = Registry("broodline.engines", "engine")
TRAINERS = Registry("broodline.trainers", "trainer")
