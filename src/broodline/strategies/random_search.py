"""Strategy `random`: random search. Each lineage trains on with the params that it sampled first."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from broodline.core.population import NewTrial, Population
from broodline.core.reproduction import child_of
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSearch(Strategy):
    """Each trial is the parent of its own child, with the same params; a failed lineage restarts with newly sampled params."""

    def label(self, name: str) -> str:
        return "random search"

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        """Returns the continuation of the initiator."""
        parent = initiator if initiator.can_be_parent else None
        return child_of(study, initiator=initiator, parent=parent, rng=rng)
