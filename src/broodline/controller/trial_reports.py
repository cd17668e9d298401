"""The reports of a worker about one trial: it runs, it is trained, it failed, it was stopped.

Every report can arrive twice, because a worker repeats a call whose answer it did not get. The trial's state and attempt show
it: a repeated report finds the trial as it would leave it, and changes nothing. The reports of a running trial leave it running,
so they are numbered, and the trial keeps the highest number. A report of a superseded attempt is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from broodline.controller.client import Signal
from broodline.controller.failures import failure_texts
from broodline.controller.study_records import StudyRecords
from broodline.core import lifecycle
from broodline.core.early_stopping import is_compared, middle_of, reason_to_stop, scores
from broodline.core.population import StudyState
from broodline.core.retention import keeps_for_good
from broodline.core.trial import Measurement, Score, Trial, TrialState
from broodline.core.untrained import Likeness, doubt

_PEERS = 2  # trials per member, among which the peers of a trial at a step are searched


class TrialReports:
    """Applies a report to the records of its study.

    Args:
        records: The records.
    """

    def __init__(self, records: StudyRecords) -> None:
        self._records, self._study, self._tx = records, records.study, records.tx

    def report(self, number: int, attempt: int, measurements: Sequence[Measurement], index: int) -> Signal:
        trial = self._records.trial(number)
        lifecycle.check_unfinished(trial, attempt)
        fresh: list[Score] = []
        if index > trial.reports:
            fresh = self._measured(trial, measurements)
            trial = trial.evolve(reports=index)
        if trial.state is TrialState.RUNNING:
            trial = trial.evolve(reason=trial.reason or self._reason_to_stop(trial, fresh))
            self._records.renew(trial)
        else:
            self._tx.update(trial)
        if self._records.progress.state in (StudyState.STOPPED, StudyState.FAILED):
            return Signal.RELEASE
        # A trial that was stopped once stays so, whatever its peers score later: the first signal may have been lost.
        return Signal.STOP if trial.state is TrialState.RUNNING and trial.reason else Signal.CONTINUE

    def complete(
        self, number: int, attempt: int, measurements: Sequence[Measurement], checkpoint: str, likeness: Likeness | None = None
    ) -> None:
        before = self._records.trial(number)
        if before.state is TrialState.COMPLETED and before.attempt == attempt:  # a repeated report
            return
        lifecycle.check_attempt(before, attempt)
        reported = self._reported(number, attempt, measurements)
        if problem := self._study.objective.problem(reported):
            self._records.deleted.append(checkpoint)  # it is committed, but no record will name it
            self._fail(before, attempt, measurements, problem, "")
            return
        self._measured(before, measurements)
        last = reported[-1]
        fitness = self._study.objective.fitness(reported)
        assert fitness is not None
        done = lifecycle.complete(
            before,
            attempt=attempt,
            now=self._tx.now,
            steps=last.step - before.start,
            metrics=self._study.objective.recorded(reported),
            fitness=fitness,
            checkpoint=checkpoint,
            doubt=self._doubt(before, last, likeness),
        )
        kept = keeps_for_good(self._study.checkpoints, done)
        self._records.finish(before, done.evolve(kept=kept, extendable=self._records.is_extendable(done)))

    def fail(self, number: int, attempt: int, measurements: Sequence[Measurement], reason: str, output: str) -> None:
        self._fail(self._records.trial(number), attempt, measurements, reason, output)

    def stop(self, number: int, attempt: int, measurements: Sequence[Measurement]) -> None:
        before = self._records.trial(number)
        if before.state is TrialState.STOPPED and before.attempt == attempt:  # a repeated report
            return
        reported = self._reported(number, attempt, measurements)
        last = reported[-1] if reported else Measurement(step=before.start, metrics={})
        after = lifecycle.stop(
            before,
            attempt=attempt,
            now=self._tx.now,
            steps=max(0, last.step - before.start),
            reason=before.reason or "stopped early",
            metrics=last.metrics,
        )
        self._measured(before, measurements)
        self._records.finish(before, after)

    def _fail(self, before: Trial, attempt: int, measurements: Sequence[Measurement], reason: str, output: str) -> None:
        reason, output = failure_texts(reason, output)
        if before.attempt == attempt and before.reason == reason:  # a repeated report
            return
        reported = self._reported(before.number, attempt, measurements)
        after = lifecycle.fail(
            before,
            attempt=attempt,
            now=self._tx.now,
            reason=reason,
            output=output,
            retries=self._study.limits.retries,
            metrics=reported[-1].metrics if reported else None,
        )
        if after is before:  # a repeated report, or the trial has failed for another reason in the meantime
            return
        self._measured(before, measurements)
        if after.state.finished:
            self._records.finish(before, after)
        else:
            self._tx.update(after)

    def _reported(self, number: int, attempt: int, measurements: Sequence[Measurement]) -> Sequence[Measurement]:
        """The measurements of the attempt, these last: as many as its fitness depends on."""
        return self._study.objective.recent(measurements, self._tx.latest_measurements(number, attempt))

    def _measured(self, trial: Trial, measurements: Sequence[Measurement]) -> list[Score]:
        """Adds measurements of the trial's present attempt; returns their scores, if the study stops trials early."""
        reported: Sequence[Measurement] = ()
        if self._study.stopping is not None and any(map(self._study.objective.scored, measurements)):
            reported = self._reported(trial.number, trial.attempt, measurements)
        self._tx.add_measurements(trial.number, trial.attempt, measurements)
        if not reported:
            return []
        fresh = scores(self._study.objective, reported, after=len(reported) - len(measurements))
        self._tx.add_scores(trial.number, trial.attempt, fresh)
        return fresh

    def _reason_to_stop(self, trial: Trial, fresh: Sequence[Score]) -> str | None:
        rule = self._study.stopping
        if rule is None or not fresh or not is_compared(rule, trial, fresh[-1].step):
            return None
        step, among = fresh[-1].step, _PEERS * self._study.population
        found = self._tx.middle_scores(step, among, trial.number)
        peers, middle = middle_of(trial, step, self._tx.peer_scores(step, among)) if found is None else found
        return reason_to_stop(rule, trial, fresh[-1], peers, middle)

    def _doubt(self, trial: Trial, last: Measurement, likeness: Likeness | None) -> str | None:
        if trial.parent is None:
            return None
        return doubt(trial, self._records.trial(trial.parent), step=last.step, metrics=last.metrics, likeness=likeness)
