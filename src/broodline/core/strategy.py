"""The protocol of strategies: how members begin, and who reproduces."""

from __future__ import annotations

from random import Random
from typing import ClassVar, Protocol

from broodline.core.population import NewTrial, Population
from broodline.core.reproduction import sampled_trial
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial


class Strategy(Protocol):
    """Decides how members begin, and what the child of an initiator is made of.

    A strategy is a subclass, and says how it differs from what is here: all members begin first, each drawn from the space.

    Attributes:
        separate: True: lineages never mix. They are trained depth first: a member begins only when no lineage that has begun
            waits to be continued; and a lineage ends where it fails.
        slow: True: `sample_initial` takes long enough to be decided outside of the store's lock (it is made again if the
            study went on meanwhile).
    """

    independent_lineages: ClassVar[bool] = False
    slow: ClassVar[bool] = False

    def check(self, study: StudyConfig) -> None:
        """Looks whether it can decide for a study, before that is created.

        Raises:
            UsageError: Something is missing; the message says how to get it.
        """
        return

    def sample_initial(self, study: StudyConfig, population: Population, member: int, rng: Random) -> NewTrial | None:
        """Returns the trial with which a member begins, or None to wait until more trials have finished.

        Args:
            study: The study, its space and its knobs.
            population: A view of the trials; it stays as it is while the decision is made.
            member: The member; those below it have begun.
            rng: The only source of chance.
        """
        return sampled_trial(study, member=member, rng=rng)

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        """Returns the child to make; None waits until more trials finish, or ends an independent lineage.

        Args:
            study, population: As of `sample_initial`.
            initiator: A finished trial that has not initiated yet; the child takes its member.
            rng: The only source of chance.
        """
        raise NotImplementedError
