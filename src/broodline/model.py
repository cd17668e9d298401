"""The nouns of broodline as values: frozen, and without any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from broodline.fitness import Objective
    from broodline.space import Space


class TrialState(StrEnum):
    """Where a trial stands; the legal moves between states are in `lifecycle`."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def finished(self) -> bool:
        """True for completed, failed and stopped."""
        return self not in (TrialState.PENDING, TrialState.RUNNING)


class Change(StrEnum):
    """What happened to one parameter when a trial was made."""

    DRAWN = "drawn"
    KEPT = "kept"
    MUTATED = "mutated"
    RESAMPLED = "resampled"
    CROSSED = "crossed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The metrics that a trial reported at a step; steps count from the beginning of the lineage."""

    step: int
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What the fitness of a trial would be, had it ended at a step: its first value, minus infinity if it is not finite."""

    step: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """How a trial stood at a step.

    Args:
        trial: Its number.
        state: Where it stands now.
        score: The last one at or before the step; None if there was none.
        measured: The last step at which it has a score; None if it has none at all.
    """

    trial: int
    state: TrialState
    score: float | None
    measured: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A small chunk of training, warm-started from the checkpoint of its parent.

    Args:
        number: Its number in the study, from 0, in order of creation.
        member: Its place in the population, 0 to N-1.
        generation: 0 for trials that start from nothing; else its initiator's plus one.
        params: Its hyperparameters, JSON values.
        seed: For the program's own random numbers; the same at every attempt.
        start: Steps that the weights have behind them.
        steps: Steps to train; once completed, the steps that it did train.
        attempt: How often it was given out, from 1; 0 while it never was.
        session: The life of the worker that holds it: a worker that is started again is another session.
        lease_until: When its lease runs out, in seconds of the store's clock.
        lost: How often it lost its worker without a goodbye.
        failures: How often its program failed.
        fitness: One value, higher is fitter, or one an objective where they are compared by Pareto improvement.
        checkpoint: Path of the committed checkpoint, relative to the store's files; None once it is swept.
        reason: Why it failed or was stopped; of a running trial, why it has been told to stop.
        damaged: The parent that it was to have, had that one's checkpoint not been found damaged.
        child: The number of the trial that it initiated.
        created, started, finished: Seconds since the epoch, by the store's clock.
    """

    number: int
    member: int
    generation: int
    params: Mapping[str, Any]
    changes: Mapping[str, Change] = field(default_factory=dict)
    seed: int = 0
    start: int = 0
    steps: int
    state: TrialState = TrialState.PENDING
    parent: int | None = None
    initiator: int | None = None
    opponent: int | None = None
    attempt: int = 0
    worker: str | None = None
    session: str | None = None
    lease_until: float | None = None
    lost: int = 0
    failures: int = 0
    metrics: Mapping[str, Any] | None = None
    fitness: tuple[float, ...] | None = None
    checkpoint: str | None = None
    kept: bool = False
    reason: str | None = None
    output: str | None = None
    damaged: int | None = None
    child: int | None = None
    created: float = 0.0
    started: float | None = None
    finished: float | None = None

    @property
    def can_be_parent(self) -> bool:
        """True for a completed trial whose checkpoint is there."""
        return self.state is TrialState.COMPLETED and self.checkpoint is not None

    @property
    def is_copy(self) -> bool:
        """True for a trial of another study, with which a continuation begins: here it was never given out."""
        return self.attempt == 0 and self.state.finished

    def evolve(self, **changes: Any) -> Trial:
        """Returns this trial with some fields changed."""
        return replace(self, **changes)

    @property
    def end(self) -> int:
        """The step at which a child of this trial starts."""
        return self.start + self.steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A committed checkpoint that is not kept for good.

    Args:
        trial: The number of the completed trial that left it.
        path: Relative to the study's files.
        in_use: Whether a pending or running trial starts from it.
    """

    trial: int
    member: int
    generation: int
    path: str
    in_use: bool


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
class Leg:
    """One trial of a lineage that is trained again: as much of its record as that takes.

    Args:
        trial: Its number in the source.
        start, steps: Where it started, and what it trained.
        params: Those of the replay: what is to be changed has been changed.
        seed: The one that its program was given.
        metrics: What it measured, to compare with.
    """

    trial: int
    start: int
    steps: int
    params: Mapping[str, Any]
    seed: int
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a study trains again: all of it, so that it needs its source no more.

    Args:
        study: The name of the source.
        trial: Whose lineage it is.
        legs: The lineage, from its beginning.
        seeds: "recorded": the first copy is given the seeds of the source; "fresh": none is.
        only: The parameters that follow the lineage; None: all. The others stay as they were at its beginning.
        fixed: Parameters that have these values instead.
    """

    study: str
    trial: int
    legs: tuple[Leg, ...]
    seeds: str = "recorded"
    only: tuple[str, ...] | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def place_of(self, trial: Trial) -> int:
        """Which leg a completed trial of the replay trained.

        Its generation tells, unless its copy had to go back to an older checkpoint: then it is that of an earlier leg which it
        trained exactly. Its end alone does not tell: another program may train more or fewer steps than it is asked to.
        """
        trained = (trial.start, trial.steps, trial.params)
        for place, leg in enumerate(self.legs[: trial.generation]):
            if (leg.start, leg.steps, leg.params) == trained:
                return place
        return trial.generation

    def leg_after(self, trial: Trial) -> Leg | None:
        """The leg with which a completed trial of the replay is continued; None: it has come to the end."""
        place = self.place_of(trial) + 1
        return self.legs[place] if place < len(self.legs) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
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


class StudyState(StrEnum):
    """Whether a study gives out trials."""

    ACTIVE = "active"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a study has spent so far; kept with the study, so that no decision counts trials.

    Args:
        state: `stopping` lets running trials finish; `stopped` calls them back.
        reason: Why it is stopped or failed.
        trials: Trials created; also the next trial's number.
        finished, completed: Trials that ended; of them, those that completed.
        failures: Trials that failed while none had completed.
        steps: Steps of all trials: trained, or promised to those that are not finished.
        elapsed: Seconds of activity up to `touched`.
        touched: When a worker was last heard of, by the store's clock.
        reached: True once a completed trial reached the target.
    """

    state: StudyState = StudyState.ACTIVE
    reason: str | None = None
    trials: int = 0
    finished: int = 0
    completed: int = 0
    failures: int = 0
    steps: int = 0
    elapsed: float = 0.0
    touched: float | None = None

    def evolve(self, **changes: Any) -> Progress:
        """Returns this progress with some fields changed."""
        return replace(self, **changes)


class Population(Protocol):
    """What a decision may look at: a consistent view of one study, each look answered by an index.

    It stands for the whole population without holding it, so the cost of a decision does not grow with the
    length of the study, nor with the number of members.
    """

    def first_pending(self) -> Trial | None:
        """The pending trial of the lowest number."""

    def first_initiator(self, worker: str) -> Trial | None:
        """Of the finished trials that have not initiated, of the lowest generation: the worker's last, or the lowest number."""

    def begun(self) -> int:
        """How many members have begun: the number of the next one."""

    def tips(self, before: int | None = None) -> tuple[Trial, ...]:
        """The finished trials that have not initiated, of generations below `before`, by generation and number."""

    def last_completed(self, member: int) -> tuple[Trial, ...]:
        """The last two completed trials of a member, the latest first."""

    def members_with_completed(self) -> tuple[int, ...]:
        """The members that have a completed trial, in order; asked only where these are few."""

    def of_generation(self, generation: int) -> tuple[Trial, ...]:
        """All trials of a generation, by number."""

    def any_running(self) -> bool:
        """True while a trial is running."""

    def best(self, count: int) -> tuple[Trial, ...]:
        """The fittest completed trials, fittest first, ties by number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """A decision: make this trial. What it starts from and with; its number is the one that was decided for.

    Args:
        steps: Steps to train; None: the study's `trial_steps`.
        seed: For the program; None: the one that follows from the study's seed and the number.
    """

    member: int
    generation: int
    params: Mapping[str, Any]
    changes: Mapping[str, Change]
    start: int = 0
    parent: int | None = None
    initiator: int | None = None
    opponent: int | None = None
    steps: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """A decision: give out this trial, which is pending, or held by the worker that asks."""

    trial: Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A decision: nothing to do now, while trials are running that may still finish or come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """A decision: nothing to do any more."""

    reason: str


Decision = Birth | Resume | Pause | End
