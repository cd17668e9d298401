"""No evolution, and nothing drawn anew: what has been trained goes on with its params."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from broodline.core.population import NewTrial, Population
from broodline.core.reproduction import child_of
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone(Strategy):
    """Every trial continues the last completed one of its member, unchanged; one that failed is trained again from there."""

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        """Returns the continuation of the initiator's member; drawn anew only if none of its trials has completed."""
        completed = (trial for trial in population.last_completed(initiator.member) if trial.can_be_parent)
        parent = initiator if initiator.can_be_parent else next(completed, None)
        return child_of(study, initiator=initiator, parent=parent, rng=rng, unchanged=True)
