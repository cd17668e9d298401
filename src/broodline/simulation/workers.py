"""The state of the simulated workers, and of the attempts that they train."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from broodline.controller.client import Start, WorkerSession
from broodline.core.trial import Trial
from broodline.simulation.faults import AttemptOutcome, Departures
from broodline.simulation.training import Training


class Activity(Enum):
    """The ways in which a worker uses its time."""

    AWAY = auto()
    WAITING = auto()
    TRAINING = auto()


@dataclass(slots=True, kw_only=True)
class Attempt:
    """An attempt at a trial on one worker.

    Args:
        start: The answer of the controller that started it.
        training: The result of the training function.
        outcome: The faults that happen to it.
        started: The virtual second at which it started.
        seconds: Its duration on this worker.
        reported: The number of its measurements that the controller has received.
        reports: The number of its reports.
    """

    start: Start
    training: Training
    outcome: AttemptOutcome
    started: float
    seconds: float
    reported: int = 0
    reports: int = 0

    @property
    def trial(self) -> Trial:
        return self.start.trial

    def steps_by(self, now: float) -> int:
        """The steps that are trained at a time."""
        share = 1.0 if self.seconds == 0 else min(1.0, (now - self.started) / self.seconds)
        return int(self.trial.steps * share)

    def time_of(self, step: int) -> float:
        """The virtual second at which a step is trained."""
        share = (step - self.trial.start) / self.trial.steps
        return self.started + self.seconds * min(1.0, max(0.0, share))


@dataclass(slots=True, kw_only=True, eq=False)
class SimulatedWorker:
    """One worker.

    Args:
        number: Its number, which is its name.
        pace: The factor by which it is slower than a normal worker.
        departures: When it leaves.
        life: The number of its arrivals and departures. An event that was planned in an earlier life does not happen.
        present: True while it belongs to the cluster, also during a temporary absence.
        activity: Its use of the present moment.
        since: The virtual second at which that began.
        attempt: The attempt that it trains.
        unreported: The attempt that it has finished and that the store does not know yet.
    """

    number: int
    pace: float
    departures: Departures
    life: int = 0
    present: bool = False
    activity: Activity = Activity.AWAY
    since: float = 0.0
    attempt: Attempt | None = None
    unreported: Attempt | None = None

    @property
    def identity(self) -> WorkerSession:
        return WorkerSession(worker=str(self.number), session=f"{self.number}.{self.life}")
