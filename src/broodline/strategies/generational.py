"""Strategy `generational`: a generation finishes, the fittest M trials are parents, N children are dealt among them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from broodline.core.options import option
from broodline.core.population import NewTrial, Population
from broodline.core.reproduction import MutationOptions, child_of
from broodline.core.strategy import Strategy, StudyProblem
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Generational(Strategy):
    """Selects the fittest of each generation as parents; if no trial completed, the children are sampled."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Options(MutationOptions):
        """Children mutate; there is no crossover, because no two trials are compared."""

        parents: int = option(at_least=1, help="M, how many of a generation are kept as parents; fewer than the population")

    options: Options

    def problem(self, study: StudyConfig) -> StudyProblem | None:
        most = study.population - 1
        if self.options.parents <= most:
            return None
        expected = f"an integer from 1 to population - 1 = {most}" if most else "less than the population, which is 1"
        return StudyProblem(key="evolution.parents", problem=f"must be {expected}, got {self.options.parents}")

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        """Returns the child, or None while trials of the initiator's generation are unfinished."""
        generation = population.of_generation(initiator.generation)
        if len(generation) < study.population or not all(trial.state.finished for trial in generation):
            return None
        parents = ranked(generation)[: self.options.parents]
        # The children so far show whose turn it is, so no counter is kept between calls.
        dealt = sum(trial.child is not None for trial in generation)
        parent = parents[dealt % len(parents)] if parents else None
        return child_of(study, initiator=initiator, parent=parent, rng=rng, mutation=self.options)


def ranked(trials: tuple[Trial, ...]) -> list[Trial]:
    """The trials that can be parents, fittest first, ties by number.

    Every child of a generation must see the same order, so nothing is drawn. Under Pareto comparison, two trials of which
    neither improves on the other are ordered by their first objectives; that order agrees with improvement.
    """
    parents = [trial for trial in trials if trial.can_be_parent]
    return sorted(parents, key=lambda trial: (tuple(-value for value in trial.fitness or ()), trial.number))
