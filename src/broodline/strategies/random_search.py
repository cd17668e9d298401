"""No evolution: random search, in which every lineage continues itself, unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from broodline.core.population import NewTrial, Population
from broodline.core.reproduction import child_of
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Continue(Strategy):
    """Every trial is the parent of its own child, with the same params; a lineage that failed is drawn anew."""

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        """Returns the continuation of the initiator."""
        parent = initiator if initiator.can_be_parent else None
        return child_of(study, initiator=initiator, parent=parent, rng=rng, unchanged=True)
