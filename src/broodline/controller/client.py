"""The interface between workers and the controller: the `Client` protocol, and the answers that it returns.

`Controller` is a client. A client that sends the same calls over a network is another one. `broodline.testing.ClientContract`
tests every implementation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from broodline.core.trial import Measurement, Trial
from broodline.core.untrained import Likeness

_NO_NAME = re.compile("[^A-Za-z0-9._-]")  # a session is the name of a file too

RENEWALS = 3
"""Renewals that a running trial's lease gets before it would expire: it is renewed every `lease / RENEWALS` seconds.

So two renewals in a row can be late or lost before the trial is given to another worker.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSession:
    """One run of a worker, from its start to its end.

    Args:
        worker: The worker's name. A worker that restarts under its name gets the trial back that it held.
        session: The name of this run. The same worker in another session means that the earlier run died. `session_of_host`
            makes one; `Trial.host` finds the host in it.
    """

    worker: str
    session: str


def session_of_host(host: str, unique: str) -> str:
    """The name of a session that shows its host.

    Args:
        host: The host's name.
        unique: A string that no other session has.

    >>> session_of_host("gpu-1.example.org", "5ac")
    'gpu-1.example.org@5ac'
    """
    return f"{_NO_NAME.sub('-', host)[:100]}@{unique}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """An answer: train this trial.

    Args:
        trial: The trial, leased to the caller.
        restore: The name of the parent's checkpoint; None to start from nothing.
        delete: Checkpoints that are no longer needed: the caller deletes them.
    """

    trial: Trial
    restore: str | None
    delete: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """An answer: there is no trial to train at the moment; ask again soon."""

    delete: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An answer: there is no trial left to train."""

    reason: str
    delete: tuple[str, ...] = ()


Answer = Start | Wait | Done


class Signal(StrEnum):
    """The answer to the report of a running trial."""

    CONTINUE = "continue"
    STOP = "stop"
    RELEASE = "release"


class Client(Protocol):
    """The controller, as a worker sees it.

    Every call can be repeated after a `RetryableError`, and has no second effect. A call that ends a trial returns the answer
    to the next ask, which is made in the same transaction.

    Every call that names an attempt raises LeaseLost after that attempt was superseded.
    """

    def ask(self, study: str, identity: WorkerSession) -> Answer:
        """Asks for a trial."""

    def report(self, study: str, number: int, attempt: int, measurements: Sequence[Measurement], index: int) -> Signal:
        """Saves the measurements of a running trial and renews its lease; the signal continues, stops or recalls the trial.

        Args:
            study: The study's name.
            number: The number of the trial.
            attempt: The attempt at it.
            measurements: The measurements since the last report that was answered.
            index: Counts the reports of the attempt, from 1. A report that is repeated keeps its index: of an index that is not
                higher than all before, the measurements are known, and are not saved again.
        """

    def damaged(self, study: str, number: int, attempt: int, parent: int, identity: WorkerSession) -> Answer:
        """Reports that the checkpoint of a trial's parent is missing or corrupt; the trial is given another parent."""

    def complete(
        self,
        study: str,
        number: int,
        attempt: int,
        measurements: Sequence[Measurement],
        checkpoint: str,
        identity: WorkerSession,
        likeness: Likeness | None = None,
    ) -> Answer:
        """Reports that a trial is trained, measured and saved; `likeness`: how its checkpoint resembles its parent's."""

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
        """Reports that the program of a trial failed."""

    def stop(self, study: str, number: int, attempt: int, measurements: Sequence[Measurement], identity: WorkerSession) -> Answer:
        """Reports that a trial has ended early, after `Signal.STOP`."""

    def renew(self, study: str, sessions: Sequence[str]) -> None:
        """Extends the leases of all trials that these sessions hold."""

    def release(self, study: str, sessions: Sequence[str], *, lost: bool = False) -> None:
        """Gives back all trials that these sessions hold.

        Args:
            study: The study's name.
            sessions: The sessions.
            lost: The sessions died. Otherwise they leave in good order, which is no loss of their trials.
        """

    def wait(self, seconds: float) -> None:
        """Returns when the answer to an ask may have changed, after about so many seconds.

        A client that learns of changes may wait for longer; `wake` ends that.
        """

    def wake(self) -> None:
        """Makes a `wait` of another thread return soon, because its worker is to leave."""
