"""Which checkpoints are still needed: a pure function of what the population may yet do with them."""

from __future__ import annotations

from collections.abc import Collection

from broodline.model import Retention, Trial


def keeps_for_good(retention: Retention, trial: Trial) -> bool:
    """True if the user asked for this trial's checkpoint to outlive its use."""
    on_the_grid = retention.keep_every is not None and trial.generation % retention.keep_every == 0
    passes_a_mark = any(trial.start < step <= trial.end for step in retention.at)
    return retention.keep_all or on_the_grid or passes_a_mark


def still_needed(
    trial: Trial, *, last_completed: Collection[int], parents_in_use: Collection[int], best: Collection[int]
) -> bool:
    """Tells whether a checkpoint may still be read; the collections hold numbers of trials.

    Args:
        trial: A completed trial with a checkpoint.
        last_completed: The last two completed trials of its member: possible opponents, and the initiator yet to come.
        parents_in_use: The parents of pending and running trials.
        best: The fittest trials, as many as the user keeps.
    """
    return trial.kept or any(trial.number in needed for needed in (last_completed, parents_in_use, best))
