"""The feed of finished trials: each trial once, in the order in which the trials finished."""

from __future__ import annotations

from broodline.core.trial import Trial
from broodline.storage.base import Transaction


class FinishedTrials:
    """Reads the trials that have finished since the last look.

    The feed remembers the numbers of the unfinished trials, and how many trials there were. A look that finds nothing new
    costs one query. Any other look costs one query a trial that is new to it or has just finished, however long the study is:
    neither the first look nor a later one reads the trials of the past.

    Args:
        records: A snapshot of the study. The feed starts here: it leaves out the trials that have finished by now.
    """

    def __init__(self, records: Transaction) -> None:
        progress = records.progress()
        self._finished, self._created = progress.finished, progress.trials
        self._unfinished = {trial.number for trial in records.unfinished()}

    def newly_finished(self, records: Transaction) -> tuple[Trial, ...]:
        """Returns the trials that have finished since the last look, in the order in which they finished.

        Args:
            records: A snapshot of the study, not older than the last one.
        """
        progress = records.progress()
        if progress.finished == self._finished:
            return ()
        unfinished = {trial.number for trial in records.unfinished()}
        # Numbers have no gaps, and a finished trial stays finished: every number outside the unfinished ones has finished.
        ended = (self._unfinished | {*range(self._created, progress.trials)}) - unfinished
        found = [trial for number in ended if (trial := records.trial(number)) is not None]
        self._finished, self._created, self._unfinished = progress.finished, progress.trials, unfinished
        return tuple(sorted(found, key=lambda trial: (trial.finished or 0.0, trial.number)))
