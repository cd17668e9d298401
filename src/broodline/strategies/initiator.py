"""Strategy `initiator`: every finished trial starts exactly one binary tournament."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from broodline.core.objective import fitter
from broodline.core.options import option
from broodline.core.population import NewTrial, Population
from broodline.core.reproduction import MutationOptions, child_of, draw_opponent
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Initiator(Strategy):
    """The fitter of the initiator and a drawn opponent is the parent; a tie keeps the initiator.

    Source: Li et al., A Generalized Framework for Population Based Training, KDD 2019, "initiator based evolution".
    """

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Options(MutationOptions):
        """Children mutate, and may take parameters from the losing contestant."""

        crossover: float = option(
            0.0, at_least=0, at_most=1, help="the probability that a parameter is taken from the losing contestant"
        )

    options: Options = field(default_factory=Options)

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        """Returns the child; it never waits for a generation."""
        opponent = draw_opponent(study, population, initiator.member, rng)
        parent = initiator if initiator.can_be_parent else None
        if opponent is not None and (parent is None or fitter(initiator.fitness, opponent.fitness, rng)):
            parent = opponent
        return child_of(
            study,
            initiator=initiator,
            parent=parent,
            opponent=opponent,
            rng=rng,
            mutation=self.options,
            crossover=self.options.crossover,
        )
