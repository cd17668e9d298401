"""What a worker may ask and tell: the `Client` protocol, and the answers. The controller is a client; so is one over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from broodline.core.trial import Measurement, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSession:
    """Who asks.

    Args:
        worker: The worker's name; one that comes back under its name gets back the trial that it held.
        session: Names this life of it: the same name in another session means that the former one died.
    """

    worker: str
    session: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Train this trial.

    Args:
        trial: The trial, leased to the asker.
        restore: The parent's checkpoint, relative to the study's files; None to start from nothing.
        delete: Checkpoints that nothing needs any more: the asker removes them.
    """

    trial: Trial
    restore: str | None
    delete: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to train just now: ask again soon."""

    delete: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Nothing to train any more."""

    reason: str
    delete: tuple[str, ...] = ()


Answer = Start | Wait | Done


class Signal(StrEnum):
    """What a running trial is told when it reports."""

    CONTINUE = "go on"
    STOP = "stop"
    RELEASE = "release"


class Client(Protocol):
    """The controller, as a worker sees it. Every call may be made again after `StoreUnavailable`: it has no effect twice.

    Calls that end a trial return the answer to the next ask, made in the same transaction.
    All of them raise LeaseLost when the attempt that they speak for has been superseded.
    """

    def ask(self, study: str, identity: WorkerSession) -> Answer:
        """Asks for a trial."""

    def report(self, study: str, number: int, attempt: int, measurements: Sequence[Measurement]) -> Signal:
        """Tells what a running trial measured, renews its lease, and learns whether it is to go on."""

    def damaged(self, study: str, number: int, attempt: int, parent: int, identity: WorkerSession) -> Answer:
        """Tells that the checkpoint of a trial's parent is missing or damaged; the trial is given another parent."""

    def complete(
        self, study: str, number: int, attempt: int, measurements: Sequence[Measurement], checkpoint: str, identity: WorkerSession
    ) -> Answer:
        """Tells that a trial is trained, measured and saved."""

    def fail(
        self,
        study: str,
        number: int,
        attempt: int,
        measurements: Sequence[Measurement],
        reason: str,
        output: str,
        identity: WorkerSession,
    ) -> Answer:
        """Tells that the program of a trial failed."""

    def stop(self, study: str, number: int, attempt: int, measurements: Sequence[Measurement], identity: WorkerSession) -> Answer:
        """Tells that a trial has ended early, as it was told to."""

    def renew(self, study: str, sessions: Sequence[str]) -> None:
        """Extends the leases of all trials that these sessions hold."""

    def release(self, study: str, sessions: Sequence[str], *, lost: bool = False) -> None:
        """Gives back all trials that these sessions hold: a goodbye, or (`lost`) the news that they died without one."""

    def wait(self, seconds: float) -> None:
        """Returns when an ask may be answered differently, at the latest after so many seconds."""
