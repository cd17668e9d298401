"""Lineages: a trial, its parent, its parent's parent, back to a trial that started from nothing."""

from __future__ import annotations

from collections.abc import Callable

from broodline.core.trial import Trial
from broodline.errors import UsageError


def lineage_of(number: int, trial_of: Callable[[int], Trial | None]) -> tuple[Trial, ...]:
    """The lineage of a trial: the trial first, the one that started from nothing last.

    Args:
        number: The trial's number.
        trial_of: Finds a trial by its number.

    Raises:
        UsageError: The study has no trial of that number.
    """
    lineage = [_found(number, trial_of)]
    while (parent := lineage[-1].parent) is not None:
        lineage.append(_found(parent, trial_of))
    return tuple(lineage)


def _found(number: int, trial_of: Callable[[int], Trial | None]) -> Trial:
    trial = trial_of(number)
    if trial is None:
        raise UsageError(f"the study has no trial {number}; `broodline trials` lists its trials")
    return trial
