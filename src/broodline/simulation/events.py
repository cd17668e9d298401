"""The event queue: a simulation jumps from one planned event to the next."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from broodline.simulation.clock import VirtualClock
from broodline.simulation.workers import SimulatedWorker

Act = Callable[[], None]


class EventQueue:
    """Planned events in the order of their times; events of the same time in the order in which they were planned.

    That order makes a simulation follow from its seeds alone.

    Args:
        clock: The clock of the controller's store. The queue reads it; `Cluster` moves it.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        # The second value is unique, so that two entries never compare their workers or acts.
        self._heap: list[tuple[float, int, SimulatedWorker | None, int, Act]] = []
        self._planned = 0

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self._clock.seconds

    def plan(self, time: float, act: Act, worker: SimulatedWorker | None = None) -> None:
        """Plans an event.

        Args:
            time: In virtual seconds.
            act: The event.
            worker: The worker of the event. If it leaves before, the event does not happen, even if the worker returns.
        """
        heappush(self._heap, (time, self._planned, worker, 0 if worker is None else worker.life, act))
        self._planned += 1

    def pop(self) -> tuple[float, Act] | None:
        """Removes and returns the next event; None if no event is left."""
        while self._heap:
            time, _, worker, life, act = heappop(self._heap)
            if worker is None or worker.life == life:
                return time, act
        return None
