"""The records of one study, as one call reads and changes them in its transaction."""

from __future__ import annotations

from collections.abc import Callable

from broodline.config.study import study_from
from broodline.controller.progress import counted, touched
from broodline.controller.sweep import no_longer_needed
from broodline.core import lifecycle
from broodline.core.population import StudyState
from broodline.core.strategy import Strategy
from broodline.core.study import Evolution
from broodline.core.text import printable
from broodline.core.trial import Trial
from broodline.errors import StudyNotFound
from broodline.storage.base import Transaction

StrategyOf = Callable[[Evolution], Strategy]


class StudyRecords:
    """A study in one transaction: its settings, its strategy, its progress, and the actions that several calls share.

    Args:
        transaction: The transaction.
        strategy_of: Loads the strategy of a study, with its options.
    """

    def __init__(self, transaction: Transaction, strategy_of: StrategyOf) -> None:
        self.study = study_from(transaction.definition())
        self.tx, self.strategy = transaction, strategy_of(self.study.evolution)
        # Progress is written once, at the end of the call, however many trials the call finishes.
        self.saved = transaction.progress()
        self.progress = touched(self.saved, transaction.now, self.study.limits.lease)
        self.deleted: list[str] = []

    def trial(self, number: int) -> Trial:
        """A trial by its number.

        Raises:
            StudyNotFound: The study has no such trial.
        """
        trial = self.tx.trial(number)
        if trial is None:
            raise StudyNotFound(f"study '{self.study.name}' has no trial {number}")
        return trial

    def finish(self, before: Trial, after: Trial) -> None:
        """Saves a trial that has ended, counts it, and forgets the checkpoints that its end made unneeded."""
        if after is before:  # a repeated report
            return
        self.tx.update(after)
        self.progress = counted(self.study, self.progress, before, after)
        # The worker deletes them after the commit: before it, a crash could lose a checkpoint that the records still name.
        self.deleted += no_longer_needed(self.tx, self.study.checkpoints, after)

    def lose(self, trial: Trial) -> None:
        """Takes a trial back from a worker that died or fell silent."""
        after = lifecycle.lose(trial, now=self.tx.now, max_lost=self.study.limits.max_lost)
        if after.state.finished:
            self.finish(trial, after)
        else:
            self.tx.update(after)

    def renew(self, trial: Trial) -> None:
        self.tx.update(lifecycle.renew(trial, now=self.tx.now, seconds=self.study.limits.lease))

    def is_extendable(self, done: Trial) -> bool:
        """Whether the lineage of a completed trial can grow: only an independent lineage that has not reached its end."""
        return self.strategy.independent_lineages and not self.strategy.ends_lineage(self.study, done)

    def end(self, state: StudyState, reason: str) -> None:
        """Ends the study; the caller saves the progress."""
        self.exclude_idle_time()
        self.progress = self.progress.evolve(state=state, reason=printable(reason))

    def exclude_idle_time(self) -> None:
        """Subtracts the time since the last call if no trial was trained in it, however short it was."""
        if self.progress.finished == self.saved.finished and not self.tx.any_running():
            self.progress = self.progress.evolve(elapsed=self.saved.elapsed)

    def save(self) -> None:
        """Writes the progress, if the call changed it."""
        if self.progress != self.saved:
            self.tx.save_progress(self.progress)
