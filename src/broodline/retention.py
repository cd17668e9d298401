"""Which checkpoints are still needed: a pure function of what the population may yet do with them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from broodline.model import Checkpoint, Retention, Trial

_LAST = 2  # an opponent is drawn from the last two completed trials of a member


def keeps_for_good(retention: Retention, trial: Trial) -> bool:
    """True if the user asked for this trial's checkpoint to outlive its use."""
    on_the_grid = retention.keep_every is not None and trial.generation % retention.keep_every == 0
    passes_a_mark = any(trial.start < step <= trial.end for step in retention.at)
    return retention.keep_all or on_the_grid or passes_a_mark


def unneeded(checkpoints: Iterable[Checkpoint], best: Collection[int]) -> list[Checkpoint]:
    """Returns the checkpoints that nothing can read any more.

    Args:
        checkpoints: All of the members concerned.
        best: Numbers of the fittest trials, as many as the user keeps.
    """
    by_member: dict[int, list[Checkpoint]] = {}
    for checkpoint in sorted(checkpoints, key=lambda each: each.generation):
        by_member.setdefault(checkpoint.member, []).append(checkpoint)
    older = [checkpoint for own in by_member.values() for checkpoint in own[:-_LAST]]
    return [checkpoint for checkpoint in older if not checkpoint.in_use and checkpoint.trial not in best]
