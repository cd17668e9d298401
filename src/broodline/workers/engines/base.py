"""Where workers run: one file an engine."""

from __future__ import annotations

from typing import Protocol


class Engine(Protocol):
    """Starts workers, and keeps as many alive as it was told to."""

    def start(self, workers: int) -> None:
        """Starts so many workers."""

    def alive(self) -> int:
        """How many workers have not ended."""

    def attend(self, seconds: float) -> None:
        """Replaces workers that died and renews the leases of those that live; takes about so many seconds.

        Raises:
            WorkerError: Workers can't be started.
        """

    def stop(self, grace: float) -> None:
        """Ends all workers: asked first, so that they give their trials back, and killed after so many seconds."""
