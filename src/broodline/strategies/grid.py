"""Grid search: every point of a grid is a configuration, trained to the end."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import ClassVar

from broodline.core.population import NewTrial, Population
from broodline.core.reproduction import child_of, initial_trial
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid(Strategy):
    """Member m is the m-th point of the grid, and every trial is the parent of its own child, with the same params."""

    independent_lineages: ClassVar[bool] = True

    def sample_initial(self, study: StudyConfig, population: Population, member: int, rng: Random) -> NewTrial | None:
        assert study.evolution.points is not None
        point = next(islice(study.space.grid(study.evolution.points), member, None))
        return initial_trial(study, member=member, params=point)

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        return child_of(study, initiator=initiator, parent=initiator, rng=rng, unchanged=True)
