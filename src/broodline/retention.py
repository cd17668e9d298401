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


def is_orphan(trial: Trial | None, attempt: int, checkpoint: str) -> bool:
    """Tells whether a directory that an attempt staged or committed is of no use to anyone.

    While a trial is unfinished its last attempt may still complete it, late, even if nobody has heard of it for long.

    Args:
        trial: The trial of that number; None if there is none.
        attempt: Whose directory it is.
        checkpoint: The name under which it is, or would be, recorded.
    """
    if trial is None:
        return True
    in_the_making = not trial.state.finished and trial.attempt == attempt
    return trial.checkpoint != checkpoint and not in_the_making
