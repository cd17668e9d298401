"""Which checkpoints nothing needs any more: forgotten here, by the records; whoever is told removes them from the disk."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from broodline.core.retention import unneeded
from broodline.core.study import Retention
from broodline.core.trial import Checkpoint, Trial
from broodline.storage.base import Transaction


def no_longer_needed(transaction: Transaction, rules: Retention, finished: Trial) -> list[str]:
    """Forgets the checkpoints that this trial's end made useless, and returns their paths.

    Only three can be: an older one of its member, its parent's, and the one that it displaced from the best.
    """
    keep = rules.keep_best
    best = transaction.best(keep + 1)
    parent = None if finished.parent is None else transaction.trial(finished.parent)
    members = sorted({trial.member for trial in (finished, parent, *best[keep:]) if trial is not None})
    checkpoints = [checkpoint for member in members for checkpoint in transaction.checkpoints(member)]
    return sweep(transaction, checkpoints, best[:keep])


def sweep(transaction: Transaction, checkpoints: Collection[Checkpoint], best: Iterable[Trial]) -> list[str]:
    """Takes the checkpoints that are not needed out of the store, and returns their paths for removal from the disk.

    In this order: a checkpoint that is removed too late costs space, one that is removed too early costs a lineage.
    """
    deleted = unneeded(checkpoints, {trial.number for trial in best})
    for checkpoint in deleted:
        transaction.forget_checkpoint(checkpoint.trial)
    return [checkpoint.path for checkpoint in deleted]
