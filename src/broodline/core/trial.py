"""Trials and their measurements as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class TrialState(StrEnum):
    """The state of a trial; `lifecycle` has the legal moves between states."""

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
    """The origin of one parameter's value in a trial."""

    DRAWN = "drawn"
    KEPT = "kept"
    MUTATED = "mutated"
    RESAMPLED = "resampled"
    CROSSED = "crossed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The metrics that a trial reported at a step; steps count from the start of the lineage."""

    step: int
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The fitness that a trial would have, had it ended at a step: the first value, minus infinity if it is not finite."""

    step: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerScore:
    """The score of another trial at a step.

    Args:
        trial: Its number.
        state: Its state now.
        score: Its last score at or before the step; None if there is none.
        measured: The last step at which it has a score; None if it has no score.
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
        generation: 0 for the first trial of a member; otherwise its initiator's plus one.
        params: Its hyperparameters, JSON values.
        seed: For the program's own random numbers; the same at every attempt.
        start: The step at which it starts, counted from the start of the lineage.
        steps: Steps to train; after completion, the steps that were trained.
        attempt: How often it has been leased; 0 before the first lease.
        reports: The highest number of a report of this attempt that was saved.
        session: The session of the worker that holds it: a restarted worker has a new session.
        lease_until: When its lease expires, in seconds of the store's clock.
        lost: How often its lease expired without a release.
        failures: How often its program failed.
        fitness: One value, higher is fitter, or one per objective if they are compared by Pareto improvement.
        checkpoint: Path of the committed checkpoint, relative to the store's files; None once it is deleted.
        kept: True if the user asked to keep its checkpoint for good.
        reason: Why it failed or was stopped; for a running trial, why it is asked to stop; for a completed trial, why it is
            doubtful that it trained.
        damaged: Its original parent, if the checkpoint of that parent was found corrupt.
        child: The number of the trial that it initiated.
        extendable: True if its lineage can be continued at it; only set where lineages are independent.
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
    reports: int = 0
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
    extendable: bool = False
    created: float = 0.0
    started: float | None = None
    finished: float | None = None

    @property
    def can_be_parent(self) -> bool:
        """True for a completed trial that has its checkpoint."""
        return self.state is TrialState.COMPLETED and self.checkpoint is not None

    @property
    def is_copy(self) -> bool:
        """True for a trial that a continuation copied from another study: it was never leased in this one."""
        return self.attempt == 0 and self.state.finished

    def is_leased(self, now: float) -> bool:
        """Whether its worker still has the lease at a time of the store's clock, its last moment included."""
        return self.lease_until is not None and self.lease_until >= now

    def evolve(self, **changes: Any) -> Trial:
        """Returns this trial with some fields changed."""
        return replace(self, **changes)

    @property
    def host(self) -> str | None:
        """The host of the session that holds it; None if no session does, or one that does not name its host."""
        return (self.session or "").rpartition("@")[0] or None

    @property
    def end(self) -> int:
        """The step at which a child of this trial starts."""
        return self.start + self.steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A committed checkpoint that is not kept for good.

    Args:
        trial: The number of the completed trial that wrote it.
        path: Relative to the study's files.
        in_use: Whether a pending or running trial starts from it.
    """

    trial: int
    member: int
    generation: int
    path: str
    in_use: bool
