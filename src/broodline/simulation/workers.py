"""What is known of the simulated workers, and counted of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import Enum, auto

from broodline.controller.client import Start, WorkerSession
from broodline.core.trial import Trial
from broodline.simulation.faults import Departures, Fate
from broodline.simulation.training import Training


class Doing(Enum):
    """What a worker's time is spent on."""

    AWAY = auto()
    WAITING = auto()
    TRAINING = auto()


@dataclass(slots=True, kw_only=True)
class Attempt:
    """What a worker trains.

    Args:
        start: What it was told.
        training: What comes of it.
        fate: What happens to it.
        begun: When it began.
        seconds: How long it takes this worker.
        told: How many of its measurements the controller knows.
    """

    start: Start
    training: Training
    outcome: Fate
    begun: float
    seconds: float
    told: int = 0

    @property
    def trial(self) -> Trial:
        return self.start.trial

    def steps_by(self, now: float) -> int:
        """The steps that are trained at a time."""
        share = 1.0 if self.seconds == 0 else min(1.0, (now - self.begun) / self.seconds)
        return int(self.trial.steps * share)

    def time_of(self, step: int) -> float:
        """When a step is trained."""
        share = (step - self.trial.start) / self.trial.steps
        return self.begun + self.seconds * min(1.0, max(0.0, share))


@dataclass(slots=True, kw_only=True)
class SimulatedWorker:
    """One worker.

    Args:
        number: Its name.
        pace: How many times longer than normal it takes.
        departures: When it goes.
        life: How often it came and went; what was planned in another life does not happen.
        present: Whether it belongs to the cluster just now, be it away for a while.
        attempt: What it trains.
        untold: What it has trained, and the store does not know yet.
    """

    number: int
    pace: float
    departures: Departures
    life: int = 0
    present: bool = False
    doing: Doing = Doing.AWAY
    since: float = 0.0
    attempt: Attempt | None = None
    untold: Attempt | None = None

    @property
    def identity(self) -> WorkerSession:
        return WorkerSession(worker=str(self.number), session=f"{self.number}.{self.life}")


@dataclass(kw_only=True)
class Tally:
    """What is counted.

    Args:
        seconds: Of all workers together, by what they were spent on: `trained`, `in wasted`, `waited`, `away`.
        faults: How often each fault happened.
        vain: Steps trained in vain, by what undid them.
        calls: Transactions of workers.
    """

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    faults: Counter[str] = field(default_factory=Counter)
    wasted: Counter[str] = field(default_factory=Counter)
    calls: int = 0
