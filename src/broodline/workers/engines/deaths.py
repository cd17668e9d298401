"""Decides after a worker's death whether another one is started, and how soon."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

FALSE_STARTS = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class DeathsInARow:
    """Deaths of an engine's workers that suggest that the next one fares no better.

    Args:
        starting: Deaths in a row of workers that never became ready.
        idle: Deaths since a worker last began to train, of workers that had not trained anything.
    """

    starting: int = 0
    idle: int = 0

    def and_one(self, *, ready: bool, at_work: bool) -> Self:
        """The count after another death.

        Args:
            ready: The worker had started.
            at_work: It had started to train a trial.
        """
        return replace(self, starting=0 if ready else self.starting + 1, idle=self.idle if at_work else self.idle + 1)

    def after_work_began(self) -> Self:
        """The count after a worker began to train: workers do work here."""
        return replace(self, idle=0)

    @property
    def hopeless(self) -> bool:
        """True if the engine gives up."""
        return self.starting >= FALSE_STARTS

    @property
    def pause(self) -> float:
        """Seconds before an idle worker that died is replaced: none after the first death, then twice as many each time.

        >>> [DeathsInARow(idle=deaths).pause for deaths in (1, 2, 3, 4, 9)]
        [0.0, 0.25, 0.5, 1.0, 5.0]
        """
        return 0.0 if self.idle <= 1 else min(_FIRST_PAUSE * 2 ** (self.idle - 2), _LONGEST_PAUSE)
