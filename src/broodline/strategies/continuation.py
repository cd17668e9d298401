"""Strategy `continue`: each member keeps training its last checkpoint, with fixed hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from broodline.core.population import NewTrial, Population
from broodline.core.reproduction import child_of
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation(Strategy):
    """Each trial resumes the last completed trial of its member, with the same params; a failed trial is trained again."""

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        """Returns the next trial of the member; its params are sampled only if no trial of the member has completed."""
        completed = (trial for trial in population.last_completed(initiator.member) if trial.can_be_parent)
        # After a failure the member resumes its last completed trial, not the failed one.
        parent = initiator if initiator.can_be_parent else next(completed, None)
        return child_of(study, initiator=initiator, parent=parent, rng=rng)
