"""The clock of a simulation: it moves when an event says so."""

from __future__ import annotations

EPOCH = 946_684_800.0  # 2000-01-01, UTC: when every simulation begins


class VirtualClock:
    """The clock of a simulation's store: seconds since the epoch, of which EPOCH are over when it begins."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return EPOCH + self.seconds
