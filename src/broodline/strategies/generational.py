"""Generational evolution: a generation finishes, its fittest M are kept as parents, and N children are dealt among them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from broodline.core.population import NewTrial, Population
from broodline.core.reproduction import child_of
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Generational(Strategy):
    """Selects `study.evolution.parents` of each generation, fewer if fewer completed; if none did, children are drawn anew."""

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        """Returns the child, or None while trials of the initiator's generation are unfinished."""
        generation = population.of_generation(initiator.generation)
        if len(generation) < study.population or not all(trial.state.finished for trial in generation):
            return None
        kept = ranked(generation)[: study.evolution.parents]
        dealt = sum(trial.child is not None for trial in generation)
        parent = kept[dealt % len(kept)] if kept else None
        return child_of(study, initiator=initiator, parent=parent, rng=rng)


def ranked(trials: tuple[Trial, ...]) -> list[Trial]:
    """The trials that can be parents, fittest first, ties by number.

    The order must be the same for every child of a generation, so nothing is drawn: under Pareto comparison, a pair in which
    neither improves on the other keeps the order of its first objectives, which is an order that agrees with improvement.
    """
    parents = [trial for trial in trials if trial.can_be_parent]
    return sorted(parents, key=lambda trial: (tuple(-value for value in trial.fitness or ()), trial.number))
