"""Schedules: the hyperparameters of a lineage as a function of the training step."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

from broodline.core.trial import Trial
from broodline.errors import UsageError

_FINEST = 10**9  # so that a float such as 1/49 becomes exactly that fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Params that apply from a step on, until the next segment starts.

    Args:
        start: The first step, counted from the start of the lineage.
        params: The hyperparameters.
    """

    start: int
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Params as a function of the training step: `schedule(step)`.

    Args:
        segments: In order of step; the first starts at 0, and adjacent ones have different params.
        end: The step at which the last segment ends; its params also apply beyond it.
    """

    segments: tuple[Segment, ...]
    end: int

    def __post_init__(self) -> None:
        starts = [segment.start for segment in self.segments]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] > self.end:
            raise ValueError(f"a schedule must start at step 0 with increasing steps, got {starts} up to {self.end}")

    def __call__(self, step: int) -> Mapping[str, Any]:
        """The params of step `step`, counted from 0; beyond the end those of the last segment.

        Raises:
            ValueError: The step is negative.
        """
        if step < 0:
            raise ValueError(f"the step must be at least 0, got {step}")
        return self.segments[bisect_right(self.segments, step, key=lambda segment: segment.start) - 1].params

    def __str__(self) -> str:
        """One line per segment."""
        ends = [*(segment.start for segment in self.segments[1:]), self.end]
        return "\n".join(
            f"steps {segment.start} to {end}: " + ", ".join(f"{name} = {value!r}" for name, value in segment.params.items())
            for segment, end in zip(self.segments, ends, strict=True)
        )

    def document(self) -> dict[str, Any]:
        """The schedule as a JSON value."""
        segments = [{"start": segment.start, "params": dict(segment.params)} for segment in self.segments]
        return {"end": self.end, "segments": segments}

    def shift(self, start: int) -> Schedule:
        """The rest of the schedule from a step on: that step becomes step 0.

        Args:
            start: The step from which training resumes, at least 0.

        Raises:
            UsageError: `start` is negative.

        Example:
            >>> segments = Segment(start=0, params={"lr": 0.1}), Segment(start=900, params={"lr": 0.2})
            >>> print(Schedule(segments=segments, end=1000).shift(500))
            steps 0 to 400: lr = 0.1
            steps 400 to 500: lr = 0.2
        """
        if start < 0:
            raise UsageError(f"start must be at least 0, got {start}")
        return self._mapped(lambda step: step - start)

    def rescale(self, steps: float | Fraction) -> Schedule:
        """The same schedule for a counter that advances by 1 every `steps` steps.

        Args:
            steps: 500 for a counter of epochs of 500 steps each; 1/500 for a counter of batches where the study's step was
                an epoch of 500 batches. Above 0.

        Raises:
            UsageError: `steps` is not above 0, or too small to count by.

        Example:
            >>> segments = Segment(start=0, params={"lr": 0.1}), Segment(start=900, params={"lr": 0.2})
            >>> print(Schedule(segments=segments, end=1000).rescale(100))
            steps 0 to 9: lr = 0.1
            steps 9 to 10: lr = 0.2
        """
        # A float such as 1/500 is no exact fraction, and a rounding error would move a segment by one count.
        exact = Fraction(steps).limit_denominator(_FINEST) if steps > 0 else Fraction(0)
        if not exact:
            raise UsageError(f"steps must be above 0, and at least about {1 / _FINEST:g}, got {steps}")
        return self._mapped(lambda step: ceil(step / exact))

    def recounted(self, *, start: int = 0, scale: float | Fraction = 1) -> Schedule:
        """Deprecated: use `shift(start)` and `rescale(scale)`."""
        warnings.warn("Schedule.recounted is deprecated: use shift and rescale", DeprecationWarning, stacklevel=2)
        return self.shift(start).rescale(scale)

    def _mapped(self, count_of: Callable[[int], int]) -> Schedule:
        """The schedule by another counter.

        Of two segments that start at the same count, the later one applies. Segments that become adjacent by that, and have the
        same params, are one.
        """
        # A dict keeps the last of equal keys: of segments at one count, the later applies.
        params = {max(0, count_of(each.start)): each.params for each in self.segments}
        segments: list[Segment] = []
        for count, values in params.items():
            if not segments or segments[-1].params != values:
                segments.append(Segment(start=count, params=values))
        return Schedule(segments=tuple(segments), end=max(0, count_of(self.end)))

    def numbers(self, param: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """One numeric param: the steps at which its values change, the first 0, and the values.

        Raises:
            UsageError: A segment does not have the param, or its value is not a number.
        """
        for segment in self.segments:
            if param not in segment.params:
                known = ", ".join(segment.params) or "none"
                raise UsageError(f"the schedule has no param '{param}' from step {segment.start} on; it has: {known}")
            value = segment.params[param]
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UsageError(f"the param '{param}' must be a number, got {value!r} from step {segment.start} on")
        return tuple(each.start for each in self.segments), tuple(float(each.params[param]) for each in self.segments)


def schedule_of(lineage: Sequence[Trial]) -> Schedule:
    """The schedule of a lineage.

    Args:
        lineage: As `lineage_of` returns it: the trial first, the one that started from nothing last.
    """
    segments: list[Segment] = []
    for trial in reversed(lineage):
        # A child that keeps its parent's params extends the segment, so a schedule shows changes and not trials.
        if not segments or segments[-1].params != trial.params:
            segments.append(Segment(start=trial.start, params=trial.params))
    return Schedule(segments=tuple(segments), end=lineage[0].end)
