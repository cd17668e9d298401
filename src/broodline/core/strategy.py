"""The protocol of strategies: how members start, and how the child of a finished trial is made."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, Protocol

from broodline.core.population import NewTrial, Population
from broodline.core.reproduction import sampled_trial
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOptions:
    """The options of a strategy that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyProblem:
    """Why a strategy can't run a study.

    Args:
        key: The key of the study file to change, as a dotted path such as `evolution.parents`.
        problem: The mistake there, and the values that are allowed.
    """

    key: str
    problem: str


class Strategy(Protocol):
    """Decides how members start and how children are made.

    A strategy is a subclass that overrides what differs from the defaults here: all members start first, each with params drawn
    from the space. A strategy with options is a dataclass with one field, `options`, of its class `Options`.

    Attributes:
        Options: A frozen dataclass whose fields are declared with `broodline.core.options.option`. The study file takes exactly
            these keys in [evolution].
        independent_lineages: True: lineages never mix. They are trained depth first: a member starts only when no started
            lineage waits to be continued. A lineage ends where it fails.
        space_may_grow: False: the configurations follow from the ranges, so an existing study can't widen its ranges.
        slow: True: `sample_initial` takes too long for the store's lock. The controller calls it outside of the lock, and calls
            it again if the study has changed in between.
    """

    Options: ClassVar[type[Any]] = NoOptions
    independent_lineages: ClassVar[bool] = False
    space_may_grow: ClassVar[bool] = True
    slow: ClassVar[bool] = False

    def label(self, name: str) -> str:
        """The name of the method in tables and figures, such as "random search".

        Args:
            name: The name under which the strategy is installed.
        """
        return name

    def problem(self, study: StudyConfig) -> StudyProblem | None:
        """Returns why the strategy can't run a study with these values, or None: a pure check of the definition."""
        return None

    def check(self, study: StudyConfig) -> None:
        """Checks, before a study is created, what the definition alone does not show, such as installed packages.

        Raises:
            UsageError: A package is missing; the message names the command that installs it.
        """
        return

    def sample_initial(self, study: StudyConfig, population: Population, member: int, rng: Random) -> NewTrial | None:
        """Returns the first trial of a member, or None to wait until more trials have finished.

        Args:
            study: The study and its space.
            population: A view of the trials; it does not change during the decision.
            member: The member; those with a lower number have started.
            rng: The only source of randomness.
        """
        return sampled_trial(study, member=member, rng=rng)

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        """Returns the child to make; None waits until more trials finish, or ends an independent lineage.

        Args:
            study, population: As for `sample_initial`.
            initiator: A finished trial that has not initiated yet; the child takes its member.
            rng: The only source of randomness.
        """
        raise NotImplementedError


def missing_generations(study: StudyConfig) -> StudyProblem | None:
    """The problem of a strategy that trains each configuration to the end, if the study does not define the end."""
    if study.budget.generations is not None:
        return None
    name = study.evolution.strategy
    problem = f"is missing; strategy '{name}' needs it: how many trials of trial_steps each configuration is trained"
    return StudyProblem(key="budget.generations", problem=problem)
