"""What a replay trains again: a recorded lineage as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from broodline.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySegment:
    """One trial of a lineage that is trained again: as much of its record as that takes.

    Args:
        trial: Its number in the source.
        start, steps: Where it started, and what it trained.
        params: Those of the replay: what is to be changed has been changed.
        seed: The one that its program was given.
        metrics: What it measured, to compare with.
    """

    trial: int
    start: int
    steps: int
    params: Mapping[str, Any]
    seed: int
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a study trains again: all of it, so that it needs its source no more.

    Args:
        study: The name of the source.
        trial: Whose lineage it is.
        legs: The lineage, from its beginning.
        seeds: "recorded": the first copy is given the seeds of the source; "fresh": none is.
        only: The parameters that follow the lineage; None: all. The others stay as they were at its beginning.
        fixed: Parameters that have these values instead.
    """

    study: str
    trial: int
    segments: tuple[ReplaySegment, ...]
    seeds: str = "recorded"
    only: tuple[str, ...] | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def place_of(self, trial: Trial) -> int:
        """Which leg a completed trial of the replay trained.

        Its generation tells, unless its copy had to go back to an older checkpoint: then it is that of an earlier leg which it
        trained exactly. Its end alone does not tell: another program may train more or fewer steps than it is asked to.
        """
        trained = (trial.start, trial.steps, trial.params)
        for index, segment in enumerate(self.segments[: trial.generation]):
            if (segment.start, segment.steps, segment.params) == trained:
                return index
        return trial.generation

    def segment_after(self, trial: Trial) -> ReplaySegment | None:
        """The leg with which a completed trial of the replay is continued; None: it has come to the end."""
        index = self.place_of(trial) + 1
        return self.segments[index] if index < len(self.segments) else None
