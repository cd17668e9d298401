"""The lineage that a replay retrains, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from broodline.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySegment:
    """One trial of the recorded lineage: the part of its record that a replay needs.

    Args:
        trial: Its number in the source.
        start, steps: The step at which it started, and the steps that it trained.
        params: The params of the replay, with its changes applied.
        seed: The seed that its program received.
        metrics: Its final metrics, for comparison.
    """

    trial: int
    start: int
    steps: int
    params: Mapping[str, Any]
    seed: int
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The complete plan of a replay, so that the replay no longer needs its source.

    Args:
        study: The name of the source.
        trial: The last trial of the lineage.
        segments: The lineage, from its start.
        seeds: "recorded": the first copy uses the seeds of the source; "fresh": every copy uses new seeds.
        only: The parameters that follow the lineage; None: all. The others keep their first values.
        fixed: Parameters that have these values instead.
    """

    study: str
    trial: int
    segments: tuple[ReplaySegment, ...]
    seeds: str = "recorded"
    only: tuple[str, ...] | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def place_of(self, trial: Trial) -> int:
        """The index of the segment that a completed trial of the replay trained.

        It is the generation, unless the copy had to resume from an older checkpoint: then it is the earlier segment with the same
        start, steps and params. The end step alone is not enough: a program may train more or fewer steps than requested.
        """
        trained = (trial.start, trial.steps, trial.params)
        for index, segment in enumerate(self.segments[: trial.generation]):
            if (segment.start, segment.steps, segment.params) == trained:
                return index
        return trial.generation

    def segment_after(self, trial: Trial) -> ReplaySegment | None:
        """The segment that follows a completed trial of the replay; None at the end of the lineage."""
        index = self.place_of(trial) + 1
        return self.segments[index] if index < len(self.segments) else None
