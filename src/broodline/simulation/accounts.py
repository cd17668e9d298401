"""The accounts of a simulation: the time of the workers, the faults, the wasted steps."""

from __future__ import annotations

from collections import Counter, defaultdict

from broodline.simulation.clock import VirtualClock
from broodline.simulation.workers import Activity, Attempt, SimulatedWorker

AWAY, WAITED, TRAINED, WASTED = "away", "waited", "trained", "wasted"


class Accounts:
    """Moves workers from one activity to the next, and books their time.

    Time counts as trained until an attempt turns out to be lost. `write_off` moves it to wasted.

    Attributes:
        seconds: Virtual seconds of all workers together: `trained`, `wasted`, `waited`, `away`.
        faults: The number of times that each fault happened.
        wasted: Steps trained for nothing, by the fault that lost them.
        calls: Transactions of workers.

    Args:
        clock: The clock of the simulation.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._training = self._unreported = 0
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.faults: Counter[str] = Counter()
        self.wasted: Counter[str] = Counter()
        self.calls = 0

    @property
    def any_training(self) -> bool:
        """True while a worker trains."""
        return self._training > 0

    @property
    def any_work(self) -> bool:
        """True while a worker trains, or holds a result that the store does not know yet."""
        return self._training + self._unreported > 0

    def start(self, worker: SimulatedWorker, attempt: Attempt) -> None:
        """A worker starts to train an attempt."""
        self.switch(worker, Activity.TRAINING)
        worker.attempt = attempt

    def switch(self, worker: SimulatedWorker, activity: Activity, *, wasted: bool = False) -> None:
        """Books the time of a worker up to now, and gives it its next activity.

        Args:
            worker: The worker.
            activity: Its next activity. Any other than training ends its attempt.
            wasted: The training until now was lost.
        """
        names = {Activity.AWAY: AWAY, Activity.WAITING: WAITED, Activity.TRAINING: WASTED if wasted else TRAINED}
        if worker.present or worker.activity is not Activity.AWAY:
            self.seconds[names[worker.activity]] += self._clock.seconds - worker.since
        self._training += (activity is Activity.TRAINING) - (worker.activity is Activity.TRAINING)
        worker.activity, worker.since = activity, self._clock.seconds
        if activity is not Activity.TRAINING:
            worker.attempt = None

    def finish(self, worker: SimulatedWorker, attempt: Attempt) -> None:
        """A worker has trained an attempt to its end, and has yet to report it."""
        self._hold(worker, attempt)
        self.switch(worker, Activity.WAITING)

    def reported(self, worker: SimulatedWorker) -> None:
        """The store knows the finished attempt of a worker, if it had one."""
        self._hold(worker, None)

    def write_off(self, worker: SimulatedWorker, fault: str) -> None:
        """Books the attempt that a worker trains, or has finished and not reported, as wasted."""
        if (attempt := worker.attempt) is not None:
            self.wasted[fault] += attempt.steps_by(self._clock.seconds)
            self.switch(worker, Activity.WAITING, wasted=True)
        elif (attempt := worker.unreported) is not None:
            self.wasted[fault] += attempt.trial.steps
            self.seconds[TRAINED] -= attempt.seconds
            self.seconds[WASTED] += attempt.seconds
            self._hold(worker, None)

    def _hold(self, worker: SimulatedWorker, attempt: Attempt | None) -> None:
        self._unreported += (attempt is not None) - (worker.unreported is not None)
        worker.unreported = attempt
