"""Strategy `grid`: grid search. Each point of a grid is a configuration, trained to the end."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import ClassVar

from broodline.core.grid import combination, combinations
from broodline.core.options import option
from broodline.core.population import NewTrial, Population
from broodline.core.reproduction import child_of, initial_trial
from broodline.core.strategy import Strategy, StudyProblem, missing_generations
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial

_COUNTED = 100_000  # how many points beyond the population are counted for the error message


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSearch(Strategy):
    """Member m is the m-th point of the grid. Each trial is the parent of its own child, with the same params."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Options:
        """The resolution of the grid."""

        points: int = option(at_least=2, help="how many values the grid has in each range, both ends included")

    independent_lineages: ClassVar[bool] = True
    space_may_grow: ClassVar[bool] = False

    options: Options

    def problem(self, study: StudyConfig) -> StudyProblem | None:
        if problem := missing_generations(study):
            return problem
        counted = study.population + _COUNTED
        size = sum(1 for _ in islice(combinations(study.space.params, self.options.points), counted))
        if size == study.population:
            return None
        points = f"{size}" if size < counted else f"{size} or more"
        return StudyProblem(
            key="population", problem=f"must be the number of points of the grid, {points}, got {study.population}"
        )

    def sample_initial(self, study: StudyConfig, population: Population, member: int, rng: Random) -> NewTrial | None:
        return initial_trial(study, member=member, params=combination(study.space.params, self.options.points, member))

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        return child_of(study, initiator=initiator, parent=initiator, rng=rng)
