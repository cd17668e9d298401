"""The definition of a study as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from broodline.core.replay import Replay

if TYPE_CHECKING:
    from broodline.core.objective import Objective
    from broodline.core.space import Space


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The budget of a study: the first limit that is used up ends the study, and None is unlimited.

    Args:
        time: Seconds during which the study is active, or a string such as "30m" or "1h 30m".
        trials: Trials created.
        generations: G: generations 0 to G-1.
        total_steps: Steps, summed over all trials.
        target: A value of the metric; the study ends when a completed trial reaches it.
    """

    time: float | None = None
    trials: int | None = None
    generations: int | None = None
    total_steps: int | None = None
    target: float | None = None

    @classmethod
    def unlimited(cls) -> Budget:
        """No limit: the study trains until it is stopped."""
        return cls()


@dataclass(frozen=True, slots=True, init=False)
class Evolution:
    """How children are made: a strategy by its name, and the options of that strategy.

    Args:
        strategy: The name of an installed strategy, such as "initiator", "generational", "random", "optuna" or "grid".
        options: The strategy's options as keyword arguments; None leaves an option at its default. docs/studyfile.md lists
            them. They are checked when the study is defined.

    Example:
        >>> Evolution(strategy="generational", parents=5, mutate=0.5).options
        {'parents': 5, 'mutate': 0.5}
    """

    strategy: str
    options: Mapping[str, Any]

    def __init__(self, *, strategy: str = "initiator", **options: Any) -> None:
        object.__setattr__(self, "strategy", strategy)
        object.__setattr__(self, "options", {name: value for name, value in options.items() if value is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a trial, or the study, is marked as failed.

    Args:
        retries: How often a trial is retried after its program failed.
        max_failures: The study fails if its first trials, this many, all fail; None: min(N, 5). See `core.failing`.
        max_lost: A trial fails when it has lost its worker this often without a release.
        lease: Seconds for which a worker without a heartbeat keeps its trial.
    """

    retries: int = 0
    max_failures: int | None = None
    max_lost: int = 3
    lease: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """The rule that stops a running trial early.

    Args:
        rule: "median": below the median of the other trials at the same step.
        margin: By how much, at least 0, in units of the fitness: of the metric, or of the weighted sum.
        burn_in: No trial is stopped before this step, counted from the start of the lineage.
        min_trials: No trial is stopped at a step at which fewer other trials have been measured.
    """

    rule: str = "median"
    margin: float = 0.0
    burn_in: int = 0
    min_trials: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Which checkpoints are kept after the population no longer needs them.

    Args:
        keep_best: Keep the checkpoints of the k fittest completed trials.
        keep_every: Keep the checkpoints of every k-th generation.
        at: Keep the first checkpoint of each member at or after these steps.
        keep_all: Keep all checkpoints.
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
        name: Letters, digits, `.`, `_` and `-`; it is also the name of a directory.
        trial_steps: Training steps per trial.
        population: N, the number of members.
        workers: W, the number of workers that `run` starts.
        seed: Determines all decisions, together with the trials' numbers.
        evolution: The strategy, with a value for each of its options.
        stopping: When a running trial is stopped early; None: never.
        replay: The lineage that the study retrains, if it is a replay.
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
