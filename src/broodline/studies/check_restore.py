"""Checks a restore: the metric before it, and after it without training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from broodline.errors import BroodlineError
from broodline.studies.check_findings import Finding, Verdict, bad, good, shown, unknown
from broodline.studies.check_runs import Outcome, Runs
from broodline.workers.likeness import likeness

_JUMP = 0.25  # of the change by one trial of training: numeric noise at a restore is smaller
_ROUNDING = 1e-6
_NOISE = 3.0  # a metric that jumps at a restore by more than so many spreads of repeats did not jump by chance


class Restore:
    """Compares the metric before a restore with the metric after a restore without training.

    Attributes:
        untrained: The run that was asked to train nothing, from nothing, if it did so.
    """

    def __init__(self, runs: Runs, params: Mapping[str, Any], first: Outcome, second: Outcome) -> None:
        self._runs, self._params = runs, params
        self._first, self._second = first, second
        self.untrained: Outcome | None = None

    def findings(self, was_read: bool | None) -> Iterator[Finding]:
        try:
            untrained = self._runs.run(self._params, steps=0)
            restored = self._runs.run(self._params, parent=self._first, steps=0)
        except BroodlineError as error:
            yield good(f"it refuses to train 0 steps ({error}), so the metric at a restore is not compared")
            return
        found = self._found(untrained, restored)
        if found.verdict is Verdict.GOOD:
            self.untrained = untrained
        elif was_read is None:
            yield unknown("it is unclear whether it reads the checkpoint: this file system does not record reads")
        yield found

    def _found(self, untrained: Outcome, restored: Outcome) -> Finding:
        before, after = self._first.fitness[0], restored.fitness[0]
        values = f"({shown(self._first.metrics)} before, {shown(restored.metrics)} after)"
        if untrained.trial.steps > 0 or restored.trial.steps > 0:
            return _trained_unasked(values)
        if abs(after - before) <= _ROUNDING * max(abs(after), abs(before)):
            return good(f"the metric is the same after a restore {values}")
        again = self._runs.run(self._params, parent=self._first, steps=0)
        if self._as_after_training(untrained, restored, again):
            return _trained_unasked(values)
        if abs(after - before) <= _JUMP * abs(before - untrained.fitness[0]):
            return good(f"the metric changes little at a restore, by less than a quarter of what a trial learns {values}")
        if abs(after - before) <= _NOISE * abs(again.fitness[0] - after):
            return good(f"the metric changes at a restore {values} by no more than between repeats ({shown(again.metrics)})")
        return bad(f"the metric changes at a restore without training {values}: some state is not saved or restored")

    def _as_after_training(self, untrained: Outcome, restored: Outcome, again: Outcome) -> bool:
        """True if the runs of 0 steps, which report no step, have the results of runs of many steps."""
        if untrained.metrics == self._first.metrics and restored.metrics == self._second.metrics:
            return True
        if any(likeness(restored.checkpoint, other.checkpoint) for other in (self._first, again)):
            return False
        # Training that draws its own random numbers gives other weights in each run, and values near those of a whole trial.
        first, second, after = self._first.fitness[0], self._second.fitness[0], restored.fitness[0]
        return abs(untrained.fitness[0] - first) <= abs(after - first) / 2 and abs(after - second) <= abs(after - first)


def _trained_unasked(values: str) -> Finding:
    return bad(
        f"it trained although it was asked for 0 steps {values}: does the program use {{steps}} or BROODLINE_STEPS (trial.steps)?"
    )
