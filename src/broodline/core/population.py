"""What a decision looks at, and the decisions themselves, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from broodline.core.trial import Change, Trial


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

    def members_started(self) -> int:
        """How many members have begun: the number of the next one."""

    def leaves(self, before: int | None = None) -> tuple[Trial, ...]:
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
class NewTrial:
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


Decision = NewTrial | Resume | Pause | End
