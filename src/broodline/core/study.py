"""The nouns of broodline as values: frozen, and without any I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broodline.core.replay import Replay

if TYPE_CHECKING:
    from broodline.core.objective import Objective
    from broodline.core.space import Space


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a study may spend; the first that is spent ends it, and None is unlimited.

    Args:
        time: Seconds during which the study was active, or a text such as "30m" or "1h 30m".
        trials: Trials created.
        generations: G: generations 0 to G-1.
        total_steps: Steps, summed over all trials.
        target: A value of the (first) metric that a completed trial reached.
    """

    time: float | None = None
    trials: int | None = None
    generations: int | None = None
    total_steps: int | None = None
    target: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evolution:
    """How children are made.

    Args:
        strategy: The name of a strategy: `initiator`, `generational`, `none`, `alone`, `optuna` or `grid`.
        mutate: The probability that a parameter mutates at all, drawn for each.
        resample: The probability that one which mutates is drawn again from its range instead.
        crossover: The probability that a parameter is taken from the other contestant.
        factors: What a number is multiplied by when it mutates; one is drawn.
        parents: M, how many of a generation are kept as parents (`generational` only).
        sampler: Which of Optuna's samplers suggests what members begin with (`optuna` only).
        points: Into how many values the grid divides each range (`grid` only).
    """

    strategy: str = "initiator"
    mutate: float = 1 / 3
    resample: float = 0.0
    crossover: float = 0.0
    factors: tuple[float, ...] = (0.8, 1.2)
    parents: int | None = None
    sampler: str | None = None
    points: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When trials, and the study, are given up.

    Args:
        retries: How often a trial whose program failed is tried again.
        max_failures: The study fails if this many trials finish first and all of them failed; None: min(N, 5).
        max_lost: A trial that lost its worker this often without a goodbye has failed.
        lease: Seconds for which a worker that is not heard of keeps its trial.
    """

    retries: int = 0
    max_failures: int | None = None
    max_lost: int = 3
    lease: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """When a running trial is stopped early, because it can't matter any more.

    Args:
        rule: "median": below the median of the other trials at the same step.
        margin: By how much, at least 0, in units of the fitness: of the metric, or of the weighted sum.
        burn_in: Nothing is stopped before this step, counted from the beginning of the lineage.
        min_trials: Nothing is stopped at a step at which fewer other trials have been measured.
    """

    rule: str = "median"
    margin: float = 0.0
    burn_in: int = 0
    min_trials: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Which checkpoints outlive their use in the population.

    Args:
        keep_best: Keep those of the k fittest completed trials.
        keep_every: Keep those of every k-th generation.
        at: Keep the first of each member at or after these steps.
        keep_all: Keep all.
        checksums: Write a SHA-256 of every file into the manifest, and check it before a warm start.
    """

    keep_best: int = 1
    keep_every: int | None = None
    at: tuple[int, ...] = ()
    keep_all: bool = False
    checksums: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyConfig:
    """One optimisation: a search space, an objective, a population and a budget.

    Args:
        name: Letters, digits, `.`, `_` and `-`; it names a directory too.
        trial_steps: Steps of training a trial.
        population: N, the number of members.
        workers: W, how many workers `run` starts.
        seed: All decisions follow from it and the trials' numbers.
        stopping: When a running trial is stopped early; None: never.
        replay: The lineage that it trains again, if it is a replay.
    """

    name: str
    space: Space
    objective: Objective
    trial_steps: int
    population: int
    workers: int = 1
    seed: int = 0
    evolution: Evolution = field(default_factory=Evolution)
    budget: Budget = field(default_factory=Budget)
    limits: Limits = field(default_factory=Limits)
    checkpoints: Retention = field(default_factory=Retention)
    stopping: Stopping | None = None
    replay: Replay | None = None
