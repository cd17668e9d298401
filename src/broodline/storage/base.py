"""The protocol of stores. A store holds rows and no rules: `core.lifecycle` decides what a trial may become."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from broodline.core.population import Population, Progress
from broodline.core.trial import Checkpoint, Measurement, PeerScore, Score, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """The leases that an answer to a worker depends on.

    Args:
        held: The running trial that the worker holds.
        expired: The running trials whose lease has expired, by number; the worker's own may be among them.
    """

    held: Trial | None = None
    expired: tuple[Trial, ...] = ()


class Transaction(Population, Protocol):
    """Everything that is read and written of one study in one consistent step."""

    def part(self) -> AbstractContextManager[Transaction]:
        """A part of this transaction that is undone alone if an error of broodline leaves it; parts follow one another.

        After any other error the whole transaction has to be undone.
        """

    @property
    def now(self) -> float:
        """The store's clock, in seconds since the epoch; it does not advance during a transaction."""

    def definition(self) -> str:
        """The study's definition, as JSON."""

    def redefine(self, definition: str) -> None:
        """Replaces the definition."""

    def progress(self) -> Progress:
        """The progress of the study: how much of its budget is used, and its state."""

    def save_progress(self, progress: Progress) -> None:
        """Replaces the progress."""

    def insert(self, trial: Trial) -> None:
        """Adds a trial."""

    def update(self, trial: Trial) -> None:
        """Replaces the row of a trial."""

    def trial(self, number: int) -> Trial | None:
        """The trial of that number."""

    def trials(self, *, after: int = -1, limit: int | None = None) -> Iterator[Trial]:
        """The trials with a higher number than `after`, by number."""

    def count_of_score(self, score: float) -> int:
        """How many completed trials have this score, the first value of their fitness."""

    def doubtful(self) -> tuple[int, Trial | None]:
        """How many completed trials have a reason to doubt them, and the first of those."""

    def leases(self, worker: str, until: float) -> Leases:
        """The leases that an answer to this worker depends on: its own, and those that expire before the time `until`."""

    def unfinished(self) -> tuple[Trial, ...]:
        """The pending and the running trials, by number."""

    def running_in(self, sessions: Sequence[str]) -> tuple[Trial, ...]:
        """The running trials that these sessions hold."""

    def has_checkpoints(self) -> bool:
        """True if a trial of the study has a checkpoint, whether it is kept for good or not."""

    def checkpoints(self, members: Collection[int] | None = None) -> tuple[Checkpoint, ...]:
        """The checkpoints of these members (None: of all) that are not kept for good, by the number of their trials."""

    def forget_checkpoint(self, trial: int) -> None:
        """Removes the checkpoint of a trial from the records."""

    def add_measurements(self, number: int, attempt: int, measurements: Sequence[Measurement]) -> None:
        """Appends measurements of an attempt at a trial."""

    def measurements(self, number: int, attempt: int | None = None) -> tuple[Measurement, ...]:
        """The measurements of an attempt at a trial (None: the last attempt that has any), in order."""

    def latest_measurements(self, number: int, attempt: int) -> Iterator[Measurement]:
        """The measurements of an attempt at a trial, the latest first; a caller that stops early reads no more."""

    def add_scores(self, number: int, attempt: int, scores: Sequence[Score]) -> None:
        """Adds the scores of an attempt at these steps. If a step has several scores, the last one counts."""

    def middle_scores(self, step: int, count: int, besides: int) -> tuple[int, tuple[float, ...]] | None:
        """How many of the trials of `peer_scores` have a score and have been measured up to `step`, and the middle of the scores.

        Returns one score in the middle of an odd number, two in the middle of an even one. Failed trials, and the trial
        `besides`, are left out. None if one of the trials has passed the step without a score at it: `peer_scores` then answers.
        """

    def peer_scores(self, step: int, count: int) -> tuple[PeerScore, ...]:
        """The scores at `step` of the `count` trials that start last before it; the last attempt at each counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesRecord:
    """The record of the directory that holds the files of one study.

    Args:
        id: The UUID that the directory carries.
        place: `HOST:PATH` of the directory, as the last process that claimed it saw it; None: no process has claimed it.
    """

    id: str
    place: str | None = None


class Records(Protocol):
    """The read-only part of a store."""

    def studies(self) -> tuple[str, ...]:
        """The names of all studies, in order of creation."""

    def snapshot(self, study: str) -> AbstractContextManager[Transaction]:
        """Opens a consistent view to read from; it blocks no writer.

        Raises:
            StudyNotFound: There is no such study.
            StoreUnavailable: The store does not answer at the moment; the call can be repeated.
            StoreError: The store can't be used.
        """

    def close(self) -> None:
        """Closes the database."""


class Store(Records, Protocol):
    """A database of studies."""

    def create(self, name: str, definition: str) -> bool:
        """Adds a study; returns False, and changes nothing, if there is one of that name."""

    def delete(self, name: str) -> None:
        """Removes a study with all its records, or changes nothing.

        Raises:
            StudyNotFound: There is no such study.
        """

    def transaction(self, study: str) -> AbstractContextManager[Transaction]:
        """Opens a transaction that excludes all others; it commits at the end, or changes nothing if an error leaves it.

        Raises:
            StudyNotFound: There is no such study.
            StoreUnavailable: The store does not answer at the moment; the call can be repeated.
            StoreError: The store can't be used: it is corrupt, incomplete or read-only.
        """

    def files_record(self, study: str) -> FilesRecord | None:
        """The record of a study's directory; None if there is none. The study itself need not exist."""

    def replace_files_record(self, study: str, before: FilesRecord | None, after: FilesRecord | None) -> bool:
        """Replaces the record of a study's directory, or adds or removes it; returns False if it is not `before`."""

    def wait_for_change(self, seconds: float) -> None:
        """Returns when the store may have changed, at the latest after so many seconds."""


Clock = Callable[[], float]
