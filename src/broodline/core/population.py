"""The input of a decision, and the decisions themselves, as frozen values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from broodline.core.trial import Change, Trial


class StudyState(StrEnum):
    """Whether a study leases trials."""

    ACTIVE = "active"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The used budget of a study; stored with the study, so that no decision counts trials.

    Args:
        state: `stopping` lets running trials finish; `stopped` interrupts them.
        reason: Why the study is stopped or has failed.
        trials: Trials created; also the next trial's number.
        finished, completed: Trials that have ended, and those of them that completed.
        failures: A counter of recent failures, see `core.failing`: it rises only while nearly all trials fail.
        steps: Steps of all trials: trained, or planned if the trial is not finished.
        elapsed: Seconds of activity up to `touched`.
        touched: The time of the last call of a worker, by the store's clock.
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
    """The input of a decision: a consistent view of one study, each query answered by an index.

    The view does not load the whole population, so the cost of a decision grows neither with the length of the study nor
    with the number of members.
    """

    def first_pending(self) -> Trial | None:
        """The pending trial with the lowest number."""

    def first_initiator(self, worker: str) -> Trial | None:
        """Among the finished trials of the lowest generation that have not initiated: the worker's last, or the lowest number.

        Of trials that finished at the same time the lowest number is last, on every store: a decision must not depend on it.
        """

    def members_started(self) -> int:
        """How many members have started; also the number of the next member."""

    def leaves(self) -> tuple[Trial, ...]:
        """The finished trials that have not initiated, by generation and number: a query whose cost grows with the study."""

    def open_leaves(self, worker: str, before: int | None = None) -> Iterator[Trial]:
        """The leaves at which an independent lineage can be continued: the worker's own first, then by generation and number.

        They are extendable, have their checkpoint, and are of generations below `before`. They are read one at a time, since
        the first one usually decides. Ended lineages are not among them, so the cost does not grow with their number.
        """

    def last_completed(self, member: int) -> tuple[Trial, ...]:
        """The last two completed trials of a member, the latest first."""

    def members_with_completed(self) -> tuple[int, ...]:
        """The members that have a completed trial, in order; only called while these are few."""

    def of_generation(self, generation: int) -> tuple[Trial, ...]:
        """All trials of a generation, by number."""

    def any_running(self) -> bool:
        """True while a trial is running."""

    def best(self, count: int) -> tuple[Trial, ...]:
        """The fittest completed trials, fittest first; of equal fitness the most trained first, then the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTrial:
    """A decision: make this trial. Its number is the one that the decision was made for.

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
    """A decision: lease this trial, which is pending, or held by the worker that asks."""

    trial: Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A decision: wait, because running trials may still finish or return to pending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """A decision: the study has no more trials for workers."""

    reason: str


Decision = NewTrial | Resume | Pause | End
