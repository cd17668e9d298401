"""Which checkpoints are still needed: a pure function of the records."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum

from broodline.core.study import Retention
from broodline.core.trial import Checkpoint, Trial

_LAST = 2  # an opponent is drawn from the last two completed trials of a member


class Need(StrEnum):
    """A reason to keep a checkpoint."""

    IN_USE = "in use"  # a pending or running trial starts from it
    RECENT = "recent"  # its trial may become an opponent or an initiator
    BEST = "best"  # its trial is one of the fittest
    KEPT = "kept"  # the user asked to keep it


def keeps_for_good(retention: Retention, trial: Trial) -> bool:
    """True if the user asked to keep the checkpoint of this trial for good."""
    on_the_grid = retention.keep_every is not None and trial.generation % retention.keep_every == 0
    passes_a_mark = any(trial.start < step <= trial.end for step in retention.at)
    return retention.keep_all or on_the_grid or passes_a_mark


def needs(
    checkpoints: Iterable[Checkpoint], *, best: Collection[int], kept: Collection[int] = (), active: bool = True
) -> dict[int, tuple[Need, ...]]:
    """Returns the reasons to keep each checkpoint, by the number of its trial; none if no trial can read it any more.

    Args:
        checkpoints: All checkpoints of the members in question.
        best: Numbers of the fittest trials, as many as the user keeps.
        kept: Numbers of the trials that the user keeps for good.
        active: The study may still make children; otherwise the last two of a member are not needed.
    """
    ordered = sorted(checkpoints, key=lambda each: each.generation)
    by_member: dict[int, list[int]] = {}
    for checkpoint in ordered:
        by_member.setdefault(checkpoint.member, []).append(checkpoint.trial)
    recent = {trial for own in by_member.values() for trial in own[-_LAST:]} if active else set()
    used = {checkpoint.trial for checkpoint in ordered if checkpoint.in_use}
    reasons = {Need.IN_USE: used, Need.RECENT: recent, Need.BEST: best, Need.KEPT: kept}
    return {each.trial: tuple(need for need, numbers in reasons.items() if each.trial in numbers) for each in ordered}


def unneeded(checkpoints: Collection[Checkpoint], best: Collection[int]) -> list[Checkpoint]:
    """Returns the checkpoints that no trial can read any more.

    Args:
        checkpoints: All checkpoints of the members in question, except those that are kept for good.
        best: Numbers of the fittest trials, as many as the user keeps.
    """
    needed = needs(checkpoints, best=best)
    return [checkpoint for checkpoint in checkpoints if not needed[checkpoint.trial]]


def is_orphan(trial: Trial | None, attempt: int, checkpoint: str) -> bool:
    """True for a directory that an attempt staged or committed and that no record needs.

    While a trial is unfinished its last attempt may still complete it late, however old its last heartbeat is.

    Args:
        trial: The trial of that number; None if there is none.
        attempt: The attempt that wrote the directory.
        checkpoint: The name under which the directory is, or would be, recorded.
    """
    if trial is None:
        return True
    unfinished = not trial.state.finished and trial.attempt == attempt
    return trial.checkpoint != checkpoint and not unfinished
