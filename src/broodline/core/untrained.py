"""Whether a completed trial trained at all: a pure function of its checkpoint's likeness to its parent's, and of its metrics.

A program that counts steps absolutely, such as `max_steps = steps`, has nothing left to do when it resumes: it loads the
parent's weights, saves them again and reports the parent's metric. The trial completes, and evolution selects among copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from broodline.core.trial import Trial

_FEW = 10  # less than one in so many of the steps: more than a report that comes before the last step leaves out


class Likeness(StrEnum):
    """How a new checkpoint resembles the one that it was trained from."""

    SAME = "same"  # all contents are equal
    SAME_WEIGHTS = "same weights"  # its largest part is equal, and something else, such as a step counter, differs


def doubt(trial: Trial, parent: Trial, *, step: int, metrics: Mapping[str, Any], likeness: Likeness | None) -> str | None:
    """The reason to doubt that a trial trained; None without one.

    Args:
        trial: The trial, as it was planned.
        parent: Its parent.
        step: The step of its last measurement.
        metrics: Its last metrics.
        likeness: How its checkpoint resembles its parent's; None: it does not.
    """
    if likeness is Likeness.SAME:
        return f"trained nothing: its checkpoint is identical to that of its parent, trial {parent.number}"
    if likeness is not None and parent.metrics == metrics:
        return f"trained nothing: its weights and its metrics are identical to those of its parent, trial {parent.number}"
    trained = step - trial.start
    return f"trained {trained} of {trial.steps} steps" if trained * _FEW <= trial.steps else None
