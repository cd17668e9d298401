"""Where studies live. Stores hold rows, never rules: what a row may become is decided in `lifecycle` and `evolve`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from broodline.core.population import Population, Progress
from broodline.core.trial import Checkpoint, Measurement, PeerScore, Score, Trial


class Transaction(Population, Protocol):
    """All that is read and written of one study, in one consistent step."""

    @property
    def now(self) -> float:
        """The store's clock, in seconds since the epoch; it stands still during a transaction."""

    def definition(self) -> str:
        """The study's definition, as JSON."""

    def redefine(self, definition: str) -> None:
        """Replaces the definition."""

    def progress(self) -> Progress:
        """What the study has spent."""

    def save_progress(self, progress: Progress) -> None:
        """Replaces it."""

    def insert(self, trial: Trial) -> None:
        """Adds a trial."""

    def update(self, trial: Trial) -> None:
        """Replaces the row of a trial."""

    def trial(self, number: int) -> Trial | None:
        """The trial of that number."""

    def trials(self, *, after: int = -1, limit: int | None = None) -> Iterator[Trial]:
        """The trials with a higher number than `after`, by number."""

    def held_by(self, worker: str) -> Trial | None:
        """The running trial that this worker holds."""

    def unfinished(self) -> tuple[Trial, ...]:
        """The pending and the running trials, by number."""

    def running_until(self, time: float) -> tuple[Trial, ...]:
        """The running trials whose lease runs out before `time`."""

    def running_in(self, sessions: Sequence[str]) -> tuple[Trial, ...]:
        """The running trials that these sessions hold."""

    def checkpoints(self, member: int | None = None) -> tuple[Checkpoint, ...]:
        """The checkpoints of a member (None: of all) that are not kept for good."""

    def forget_checkpoint(self, trial: int) -> None:
        """Takes the checkpoint of a trial out of the records."""

    def add_measurements(self, number: int, attempt: int, measurements: Sequence[Measurement]) -> None:
        """Appends what an attempt at a trial reported."""

    def measurements(self, number: int, attempt: int | None = None) -> tuple[Measurement, ...]:
        """What an attempt at a trial (None: the last that reported anything) reported, in order."""

    def add_scores(self, number: int, attempt: int, scores: Sequence[Score]) -> None:
        """Remembers what an attempt at a trial scored at these steps; of a step that is told again, the last score counts."""

    def peer_scores(self, step: int, count: int) -> tuple[PeerScore, ...]:
        """How those `count` trials that start last, but before `step`, stood there; the last attempt at each counts."""


class Store(Protocol):
    """A database of studies."""

    def create(self, name: str, definition: str) -> bool:
        """Adds a study; False, and nothing is changed, if there is one of that name."""

    def studies(self) -> tuple[str, ...]:
        """The names of all studies, in order of creation."""

    def transaction(self, study: str) -> AbstractContextManager[Transaction]:
        """Opens a transaction that no other can run beside; it commits at the end, or changes nothing if an error leaves it.

        Raises:
            StudyNotFound: There is no such study.
            StoreUnavailable: The store does not answer; asking again is safe.
        """

    def snapshot(self, study: str) -> AbstractContextManager[Transaction]:
        """Opens a consistent view to read from; it blocks nobody."""

    def wait_for_change(self, seconds: float) -> None:
        """Returns when the store may have changed, at the latest after so many seconds."""

    def close(self) -> None:
        """Lets go of the database."""


Clock = Callable[[], float]
