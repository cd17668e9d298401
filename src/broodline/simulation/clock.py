"""The clock of a simulation. Events move it."""

from __future__ import annotations

EPOCH = 946_684_800.0  # 2000-01-01, UTC: the start of every simulation


class VirtualClock:
    """The clock of a simulated store, in Unix time. `seconds` counts from the start of the simulation."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return EPOCH + self.seconds
