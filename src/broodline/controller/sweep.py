"""The checkpoints that are no longer needed.

The records forget them here, in the transaction. The worker that gets the answer deletes them from the disk afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from broodline.core.retention import unneeded
from broodline.core.study import Retention
from broodline.core.trial import Checkpoint, Trial
from broodline.storage.base import Transaction

_FITTEST = 20  # trials among which the fittest one with a checkpoint is searched, so that the cost is bounded


def no_longer_needed(transaction: Transaction, rules: Retention, finished: Trial) -> list[str]:
    """Forgets the checkpoints that the end of this trial made unneeded, and returns their names.

    There are three candidates: an older one of its member, its parent's, and the one that it displaced from the best.
    """
    keep = rules.keep_best
    best = transaction.best(keep + 1)
    parent = None if finished.parent is None else transaction.trial(finished.parent)
    members = sorted({trial.member for trial in (finished, parent, *best[keep:]) if trial is not None})
    return sweep(transaction, transaction.checkpoints(members), best_to_keep(transaction, best[:keep]))


def best_to_keep(records: Transaction, best: Sequence[Trial]) -> Sequence[Trial]:
    """The best trials, and if none of them has its checkpoint, the fittest trial that has one.

    An older broodline called the first of equal trials the best and kept its checkpoint, so the trial that is the best now may
    have lost its own.
    """
    if not best or any(trial.checkpoint for trial in best):
        return best
    return (*best, *[trial for trial in records.best(_FITTEST) if trial.checkpoint][:1])


def sweep(transaction: Transaction, checkpoints: Collection[Checkpoint], best: Iterable[Trial]) -> list[str]:
    """Removes the unneeded checkpoints from the records, and returns their names for deletion from the disk.

    In this order, because a checkpoint that is deleted too late costs space, and one that is deleted too early a lineage.
    """
    deleted = unneeded(checkpoints, {trial.number for trial in best})
    for checkpoint in deleted:
        transaction.forget_checkpoint(checkpoint.trial)
    return [checkpoint.path for checkpoint in deleted]
