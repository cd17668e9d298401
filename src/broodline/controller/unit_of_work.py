"""The unit of work: everything that one call of a worker does inside of its transaction.

Theory of operation
-------------------

The rules live in `core` and are pure: `lifecycle` decides what a trial may become, `next_trial` and the strategy decide what is
trained next, `retention` decides which checkpoints stay. A unit of work applies those decisions to the records of one study:

1. Read the definition and the progress, and add the time since the last call to the time that the study has trained.
2. Apply the report, if the call has one: `complete`, `fail`, `stop`, `report` or `damaged`.
3. Answer: first take back every trial whose lease has expired, then choose and lease the caller's next trial.
4. Write the progress, if it changed. The transaction commits after that, or changes nothing.

There is no queue of decisions. A child is chosen when a worker asks for a trial, from the records as they are in that moment,
so a crash can lose no decision.

Every report can arrive twice, because a worker repeats a call whose answer it did not get. The trial's state and attempt show
it: a repeated report finds the trial as it would leave it, and changes nothing. The reports of a running trial leave it running,
so they are numbered, and the trial keeps the highest number. A report of a superseded attempt is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from broodline.config.study import study_from
from broodline.controller.client import Answer, Done, Signal, Start, Wait, WorkerSession
from broodline.controller.failures import failure_texts
from broodline.controller.progress import counted, touched
from broodline.controller.replacement import replacement_for
from broodline.controller.sweep import no_longer_needed
from broodline.core import lifecycle
from broodline.core.early_stopping import is_compared, middle_of, reason_to_stop, scores
from broodline.core.failing import RECENT, failures_at_end, problem_at_end
from broodline.core.next_trial import SampleInitial, next_trial, program_seed, rerooted
from broodline.core.population import End, NewTrial, Pause, Resume, StudyState
from broodline.core.retention import keeps_for_good
from broodline.core.strategy import Strategy
from broodline.core.study import Evolution, Retention, StudyConfig
from broodline.core.text import printable
from broodline.core.trial import Measurement, Score, Trial, TrialState
from broodline.core.untrained import Likeness, doubt
from broodline.errors import StudyNotFound
from broodline.storage.base import Transaction

StrategyOf = Callable[[Evolution], Strategy]

_PEERS = 2  # trials per member, among which the peers of a trial at a step are searched
_NOTHING_TO_RESUME = "the checkpoint from which it resumes is corrupt; make another continuation, under another --name"


class SlowDecision(Exception):
    """Raised where a decision would take longer than the lock may be held."""


def not_now(*_: Any) -> NewTrial:
    """Takes the place of a strategy's `sample_initial`, where that would take too long."""
    raise SlowDecision


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecomputedDecision:
    """The first trial of a member, decided outside of the lock, and the version of the study for which it is valid."""

    version: tuple[StudyConfig, int, int]
    new_trial: NewTrial | None


class UnitOfWork:
    """The work of one call inside of its transaction.

    Args:
        transaction: The transaction.
        strategy_of: Finds a strategy by name.
    """

    def __init__(self, transaction: Transaction, strategy_of: StrategyOf) -> None:
        self.study = study_from(transaction.definition())
        self._tx, self.strategy = transaction, strategy_of(self.study.evolution)
        self._saved = transaction.progress()
        self._progress = touched(self._saved, transaction.now, self.study.limits.lease)
        self.deleted: list[str] = []

    def held_by(self, identity: WorkerSession) -> Trial | None:
        """The trial that the caller holds. A trial that it held in an earlier session is taken back: that session has died."""
        held = self._tx.held_by(identity.worker)
        if held is None or held.session == identity.session:
            return held
        self._lose(held)
        return None

    @property
    def _version(self) -> tuple[StudyConfig, int, int]:
        return self.study, self._progress.trials, self._progress.finished

    def precomputed(self, identity: WorkerSession) -> PrecomputedDecision:
        """The first trial of a new member, if this worker's next ask starts one."""
        decision = next_trial(self.study, self._progress, self._tx, strategy=self.strategy, worker=identity.worker)
        new_trial = decision if isinstance(decision, NewTrial) and decision.initiator is None else None
        return PrecomputedDecision(version=self._version, new_trial=new_trial)

    def as_precomputed(self, precomputed: PrecomputedDecision) -> SampleInitial:
        """Starts a member as it was precomputed; if the study has changed since then, it raises SlowDecision."""
        new_trial = precomputed.new_trial if precomputed.version == self._version else None
        return not_now if new_trial is None else lambda *_: new_trial

    def answer(self, identity: WorkerSession, held: Trial | None, *, sample_initial: SampleInitial | None = None) -> Answer:
        """Takes back expired leases, and chooses and leases the caller's next trial."""
        for trial in self._tx.running_until(self._tx.now):
            if held is None or trial.number != held.number:  # a caller is alive, however late it is
                self._lose(trial)
        decision = next_trial(
            self.study,
            self._progress,
            self._tx,
            strategy=self.strategy,
            worker=identity.worker,
            held=held,
            sample_initial=sample_initial,
        )
        match decision:
            case NewTrial():
                return self._start(self._saved_new_trial(decision, identity))
            case Resume(trial=trial):
                return self._start(self._resumed(trial, identity))
            case Pause():
                # Nothing is written for a worker that waits, or all waiting workers would wake each other.
                self._progress = self._progress.evolve(elapsed=self._saved.elapsed, touched=self._saved.touched)
                return Wait(delete=tuple(self.deleted))
            case End(reason=reason):
                self._exclude_idle_time()
                reason = self._judged(reason)
                if held is not None and held.state is TrialState.RUNNING:  # recalled; a worker that is done makes no further call
                    self._tx.update(lifecycle.release(held))
                return Done(reason=reason, delete=tuple(self.deleted))

    def _judged(self, reason: str) -> str:
        """The reason for the end of the study, which has failed if most of its trials did."""
        unsuccessful = self._progress.finished - self._progress.completed
        if self._progress.state is not StudyState.ACTIVE or unsuccessful < failures_at_end(self.study):
            return reason
        problem = problem_at_end(self.study, tuple(self._tx.trials(after=self._progress.trials - RECENT - 1)))
        if problem is None:
            return reason
        self.end(StudyState.FAILED, f"{reason}, and {problem}")
        return f"{self._progress.reason}"

    def report(self, number: int, attempt: int, measurements: Sequence[Measurement], index: int) -> Signal:
        trial = self._trial(number)
        lifecycle.check_unfinished(trial, attempt)
        fresh: list[Score] = []
        if index > trial.reports:
            fresh = self._measured(trial, measurements)
            trial = trial.evolve(reports=index)
        if trial.state is TrialState.RUNNING:
            trial = trial.evolve(reason=trial.reason or self._reason_to_stop(trial, fresh))
            self._renew(trial)
        else:
            self._tx.update(trial)
        if self._progress.state in (StudyState.STOPPED, StudyState.FAILED):
            return Signal.RELEASE
        # A trial that was stopped once stays so, whatever its peers score later: the first signal may have been lost.
        return Signal.STOP if trial.state is TrialState.RUNNING and trial.reason else Signal.CONTINUE

    def damaged(self, number: int, attempt: int, parent: int, identity: WorkerSession) -> Answer:
        trial = self._trial(number)
        lifecycle.check_unfinished(trial, attempt)
        if trial.parent == parent:  # else this report was applied before
            self._tx.update(self._trial(parent).evolve(checkpoint=None, kept=False))
            independent_lineages = self.strategy.independent_lineages
            other = replacement_for(self._tx, self._trial(parent), independent_lineages=independent_lineages)
            if other is None and self._trial(0).is_copy:
                self.end(StudyState.FAILED, _NOTHING_TO_RESUME)
                return self.answer(identity, held=trial)
            again = rerooted(self.study, trial, other, independent_lineages=independent_lineages)
            self._tx.update(again)
            self._progress = self._progress.evolve(steps=self._progress.steps + again.steps - trial.steps)
        return self.answer(identity, held=self._trial(number))

    def complete(
        self, number: int, attempt: int, measurements: Sequence[Measurement], checkpoint: str, likeness: Likeness | None = None
    ) -> None:
        before = self._trial(number)
        if before.state is TrialState.COMPLETED and before.attempt == attempt:
            return
        lifecycle.check_attempt(before, attempt)
        reported = self._reported(number, attempt, measurements)
        if problem := self.study.objective.problem(reported):
            self.deleted.append(checkpoint)
            self._fail(before, attempt, measurements, problem, "")
            return
        self._measured(before, measurements)
        last = reported[-1]
        fitness = self.study.objective.fitness(reported)
        assert fitness is not None
        done = lifecycle.complete(
            before,
            attempt=attempt,
            now=self._tx.now,
            steps=last.step - before.start,
            metrics=self.study.objective.recorded(reported),
            fitness=fitness,
            checkpoint=checkpoint,
            doubt=self._doubt(before, last, likeness),
        )
        kept = keeps_for_good(self.study.checkpoints, done)
        self._finish(before, done.evolve(kept=kept, extendable=self._is_extendable(done)))

    def _is_extendable(self, done: Trial) -> bool:
        return self.strategy.independent_lineages and not self.strategy.ends_lineage(self.study, done)

    def fail(self, number: int, attempt: int, measurements: Sequence[Measurement], reason: str, output: str) -> None:
        self._fail(self._trial(number), attempt, measurements, reason, output)

    def stop(self, number: int, attempt: int, measurements: Sequence[Measurement]) -> None:
        before = self._trial(number)
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
        self._finish(before, after)

    def _reported(self, number: int, attempt: int, measurements: Sequence[Measurement]) -> Sequence[Measurement]:
        """The measurements of the attempt, these last: as many as its fitness depends on."""
        return self.study.objective.recent(measurements, self._tx.latest_measurements(number, attempt))

    def _measured(self, trial: Trial, measurements: Sequence[Measurement]) -> list[Score]:
        """Adds measurements of the trial's present attempt; returns their scores, if the study stops trials early."""
        reported: Sequence[Measurement] = ()
        if self.study.stopping is not None and any(map(self.study.objective.scored, measurements)):
            reported = self._reported(trial.number, trial.attempt, measurements)
        self._tx.add_measurements(trial.number, trial.attempt, measurements)
        if not reported:
            return []
        fresh = scores(self.study.objective, reported, after=len(reported) - len(measurements))
        self._tx.add_scores(trial.number, trial.attempt, fresh)
        return fresh

    def _reason_to_stop(self, trial: Trial, fresh: Sequence[Score]) -> str | None:
        rule = self.study.stopping
        if rule is None or not fresh or not is_compared(rule, trial, fresh[-1].step):
            return None
        step, among = fresh[-1].step, _PEERS * self.study.population
        found = self._tx.middle_scores(step, among, trial.number)
        peers, middle = middle_of(trial, step, self._tx.peer_scores(step, among)) if found is None else found
        return reason_to_stop(rule, trial, fresh[-1], peers, middle)

    def renew(self, sessions: Sequence[str]) -> None:
        for trial in self._tx.running_in(sessions):
            self._renew(trial)

    def release(self, sessions: Sequence[str], *, lost: bool) -> None:
        for trial in self._tx.running_in(sessions):
            self._lose(trial) if lost else self._tx.update(lifecycle.release(trial))

    def redefine(self, study: StudyConfig, text: str) -> None:
        if text != self._tx.definition():
            self._tx.redefine(text)
        self._close_ended_lineages()
        if study.checkpoints != self.study.checkpoints:
            self._keep_existing(study.checkpoints)
        self._progress = self._progress.evolve(state=StudyState.ACTIVE, reason=None, failures=0)
        self._exclude_idle_time()

    def _close_ended_lineages(self) -> None:
        """Marks the ends of lineages that an older version completed: its upgraded store takes all of them for extendable."""
        ended = [leaf for leaf in self._tx.open_leaves("") if not self._is_extendable(leaf)]
        for leaf in ended:
            self._tx.update(leaf.evolve(extendable=False))

    def _keep_existing(self, retention: Retention) -> None:
        """Keeps for good the checkpoints that new rules keep. Those that older rules kept stay until `broodline gc` runs."""
        for checkpoint in self._tx.checkpoints():
            trial = self._trial(checkpoint.trial)
            if keeps_for_good(retention, trial):
                self._tx.update(trial.evolve(kept=True))

    def _exclude_idle_time(self) -> None:
        """Subtracts the time since the last call if no trial was trained in it, however short it was."""
        if self._progress.finished == self._saved.finished and not self._tx.any_running():
            self._progress = self._progress.evolve(elapsed=self._saved.elapsed)

    def end(self, state: StudyState, reason: str) -> None:
        self._exclude_idle_time()
        self._progress = self._progress.evolve(state=state, reason=printable(reason))

    def save(self) -> None:
        if self._progress != self._saved:
            self._tx.save_progress(self._progress)

    def _lose(self, trial: Trial) -> None:
        after = lifecycle.lose(trial, now=self._tx.now, max_lost=self.study.limits.max_lost)
        if after.state.finished:
            self._finish(trial, after)
        else:
            self._tx.update(after)

    def _saved_new_trial(self, new_trial: NewTrial, identity: WorkerSession) -> Trial:
        number = self._progress.trials
        trial = Trial(
            number=number,
            steps=self.study.trial_steps if new_trial.steps is None else new_trial.steps,
            seed=program_seed(self.study.seed, number) if new_trial.seed is None else new_trial.seed,
            created=self._tx.now,
            **{name: getattr(new_trial, name) for name in NewTrial.__slots__ if name not in ("steps", "seed")},
        )
        leased = self._leased(trial, identity)
        self._tx.insert(leased)
        if new_trial.initiator is not None:
            self._tx.update(self._trial(new_trial.initiator).evolve(child=number))
        self._progress = self._progress.evolve(trials=number + 1, steps=self._progress.steps + trial.steps)
        return leased

    def _resumed(self, trial: Trial, identity: WorkerSession) -> Trial:
        now, seconds = self._tx.now, self.study.limits.lease
        running = trial.state is TrialState.RUNNING
        leased = lifecycle.renew(trial, now=now, seconds=seconds) if running else self._leased(trial, identity)
        self._tx.update(leased)
        return leased

    def _leased(self, trial: Trial, identity: WorkerSession) -> Trial:
        return lifecycle.lease(
            trial, worker=identity.worker, session=identity.session, now=self._tx.now, seconds=self.study.limits.lease
        )

    def _start(self, trial: Trial) -> Start:
        restore = None if trial.parent is None else self._trial(trial.parent).checkpoint
        return Start(trial=trial, restore=restore, delete=tuple(self.deleted))

    def _renew(self, trial: Trial) -> None:
        self._tx.update(lifecycle.renew(trial, now=self._tx.now, seconds=self.study.limits.lease))

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
            retries=self.study.limits.retries,
            metrics=reported[-1].metrics if reported else None,
        )
        if after is before:  # a repeated report, or the trial has failed for another reason in the meantime
            return
        self._measured(before, measurements)
        if after.state.finished:
            self._finish(before, after)
        else:
            self._tx.update(after)

    def _finish(self, before: Trial, after: Trial) -> None:
        if after is before:  # a repeated report
            return
        self._tx.update(after)
        self._progress = counted(self.study, self._progress, before, after)
        self.deleted += no_longer_needed(self._tx, self.study.checkpoints, after)

    def _doubt(self, trial: Trial, last: Measurement, likeness: Likeness | None) -> str | None:
        if trial.parent is None:
            return None
        return doubt(trial, self._trial(trial.parent), step=last.step, metrics=last.metrics, likeness=likeness)

    def _trial(self, number: int) -> Trial:
        trial = self._tx.trial(number)
        if trial is None:
            raise StudyNotFound(f"study '{self.study.name}' has no trial {number}")
        return trial
