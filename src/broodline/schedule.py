"""What a study learned: the params of a lineage as a function of the training step."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broodline.model import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Params that hold from a step on, until the next segment begins.

    Args:
        start: The first step, counted from the beginning of the lineage.
        params: The hyperparameters.
    """

    start: int
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Params as a function of the training step: `schedule(step)`.

    Args:
        segments: In order of step; the first begins at 0, and the params of neighbours differ.
        end: The step at which the last one ends.
    """

    segments: tuple[Segment, ...]
    end: int

    def __post_init__(self) -> None:
        starts = [segment.start for segment in self.segments]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] > self.end:
            raise ValueError(f"a schedule begins at step 0 and goes on from there: {starts} up to {self.end} does not")

    def __call__(self, step: int) -> Mapping[str, Any]:
        """The params with which step `step`, counted from 0, is trained; beyond the end those of the last segment.

        Raises:
            ValueError: The step is negative.
        """
        if step < 0:
            raise ValueError(f"step {step}: a schedule begins at step 0")
        return self.segments[bisect_right(self.segments, step, key=lambda segment: segment.start) - 1].params

    def __str__(self) -> str:
        """One line a segment."""
        ends = [*(segment.start for segment in self.segments[1:]), self.end]
        return "\n".join(
            f"steps {segment.start} to {end}: " + ", ".join(f"{name} = {value!r}" for name, value in segment.params.items())
            for segment, end in zip(self.segments, ends, strict=True)
        )

    def document(self) -> dict[str, Any]:
        """The schedule as a JSON value."""
        segments = [{"from": segment.start, "params": dict(segment.params)} for segment in self.segments]
        return {"end": self.end, "segments": segments}


def schedule_of(lineage: Sequence[Trial]) -> Schedule:
    """The schedule of a lineage.

    Args:
        lineage: As `lineage_of` returns it: the trial first, the one that started from nothing last.
    """
    segments: list[Segment] = []
    for trial in reversed(lineage):
        if not segments or segments[-1].params != trial.params:
            segments.append(Segment(start=trial.start, params=trial.params))
    return Schedule(segments=tuple(segments), end=lineage[0].end)
