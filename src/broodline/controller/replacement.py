"""Another parent for a trial whose parent's checkpoint is missing or corrupt."""

from __future__ import annotations

from broodline.core.objective import fittest
from broodline.core.trial import Trial
from broodline.storage.base import Transaction

# The search reads a bounded number of rows, so that the cost of a call does not grow with the study.
_ANCESTORS = 100
_FITTEST = 100


def replacement_for(transaction: Transaction, corrupt: Trial, *, independent_lineages: bool) -> Trial | None:
    """The nearest ancestor that has its checkpoint, or the fittest trial that has.

    Args:
        transaction: The records.
        corrupt: The trial whose checkpoint can't be used.
        independent_lineages: Lineages do not mix, so only an ancestor can be the parent.
    """
    ancestor = _ancestor_with_checkpoint(transaction, corrupt)
    if ancestor is not None or independent_lineages:
        return ancestor
    # The first of these nearly always has its checkpoint.
    if usable_best := next((trial for trial in transaction.best(_FITTEST) if trial.can_be_parent), None):
        return usable_best
    held = [transaction.trial(checkpoint.trial) for checkpoint in transaction.checkpoints()]
    usable = [trial for trial in held if trial is not None and trial.can_be_parent]
    return next(iter(fittest(usable)), None)


def _ancestor_with_checkpoint(transaction: Transaction, trial: Trial) -> Trial | None:
    for _ in range(_ANCESTORS):
        if trial.parent is None:
            return None
        parent = transaction.trial(trial.parent)
        if parent is None or parent.can_be_parent:
            return parent
        trial = parent
    return None
