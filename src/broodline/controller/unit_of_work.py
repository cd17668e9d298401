"""The unit of work: everything that one call of a worker does inside of its transaction.

Theory of operation
-------------------

The rules live in `core` and are pure: `lifecycle` decides what a trial may become, `next_trial` and the strategy decide what is
trained next, `retention` decides which checkpoints stay. A unit of work applies those decisions to the records of one study:

1. Read the definition and the progress, and add the time since the last call to the time that the study has trained.
2. Apply the report, if the call has one: `complete`, `fail`, `stop` or `report` (`TrialReports`), or `damaged`.
3. Answer: first take back every trial whose lease has expired, then choose and lease the caller's next trial.
4. Write the progress, if it changed. The transaction commits after that, or changes nothing.

There is no queue of decisions. A child is chosen when a worker asks for a trial, from the records as they are in that moment,
so a crash can lose no decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from broodline.controller.client import Answer, Done, Start, Wait, WorkerSession
from broodline.controller.replacement import replacement_for
from broodline.controller.study_records import StrategyOf, StudyRecords
from broodline.controller.trial_reports import TrialReports
from broodline.core import lifecycle
from broodline.core.failing import RECENT, failures_at_end, problem_at_end
from broodline.core.next_trial import SampleInitial, next_trial, program_seed, rerooted
from broodline.core.population import End, NewTrial, Pause, Resume, StudyState
from broodline.core.retention import keeps_for_good
from broodline.core.study import Retention, StudyConfig
from broodline.core.trial import Trial, TrialState
from broodline.storage.base import Transaction

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
        strategy_of: Loads the strategy of a study, with its options.
    """

    def __init__(self, transaction: Transaction, strategy_of: StrategyOf) -> None:
        self.records = StudyRecords(transaction, strategy_of)
        self.reports = TrialReports(self.records)
        self.study, self.strategy, self._tx = self.records.study, self.records.strategy, transaction

    @property
    def _version(self) -> tuple[StudyConfig, int, int]:
        return self.study, self.records.progress.trials, self.records.progress.finished

    def precomputed(self, identity: WorkerSession) -> PrecomputedDecision:
        """The first trial of a new member, if this worker's next ask starts one."""
        decision = next_trial(self.study, self.records.progress, self._tx, strategy=self.strategy, worker=identity.worker)
        new_trial = decision if isinstance(decision, NewTrial) and decision.initiator is None else None
        return PrecomputedDecision(version=self._version, new_trial=new_trial)

    def as_precomputed(self, precomputed: PrecomputedDecision) -> SampleInitial:
        """Starts a member as it was precomputed; if the study has changed since then, it raises SlowDecision."""
        new_trial = precomputed.new_trial if precomputed.version == self._version else None
        return not_now if new_trial is None else lambda *_: new_trial

    def answer(
        self, identity: WorkerSession, *, held: Trial | None = None, sample_initial: SampleInitial | None = None
    ) -> Answer:
        """Takes back the trials of dead workers, and chooses and leases the caller's next trial.

        Args:
            identity: The caller.
            held: The trial that it names as its own; None: the one that the records name.
            sample_initial: Makes the first trial of a member, in place of the strategy's `sample_initial`.
        """
        held = self._held_after_losses(identity, held)
        decision = next_trial(
            self.study,
            self.records.progress,
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
                self.records.progress = self.records.progress.evolve(
                    elapsed=self.records.saved.elapsed, touched=self.records.saved.touched
                )
                return Wait(delete=tuple(self.records.deleted))
            case End(reason=reason):
                self.records.exclude_idle_time()
                reason = self._judged(reason)
                if held is not None and held.state is TrialState.RUNNING:  # recalled; a worker that is done makes no further call
                    self._tx.update(lifecycle.release(held))
                return Done(reason=reason, delete=tuple(self.records.deleted))

    def _held_after_losses(self, identity: WorkerSession, held: Trial | None) -> Trial | None:
        """Takes back expired leases, and the caller's own of an earlier session, which has died; returns the trial it holds."""
        leases = self._tx.leases(identity.worker, self._tx.now)
        if held is None and leases.held is not None and leases.held.session != identity.session:
            self.records.lose(leases.held)
        elif held is None:
            held = leases.held
        for trial in leases.expired:
            # A caller is alive, however late it is.
            if trial.number not in [own.number for own in (held, leases.held) if own is not None]:
                self.records.lose(trial)
        return held

    def _judged(self, reason: str) -> str:
        """The reason for the end of the study, which has failed if most of its trials did."""
        unsuccessful = self.records.progress.finished - self.records.progress.completed
        if self.records.progress.state is not StudyState.ACTIVE or unsuccessful < failures_at_end(self.study):
            return reason
        problem = problem_at_end(self.study, tuple(self._tx.trials(after=self.records.progress.trials - RECENT - 1)))
        if problem is None:
            return reason
        self.records.end(StudyState.FAILED, f"{reason}, and {problem}")
        return f"{self.records.progress.reason}"

    def damaged(self, number: int, attempt: int, parent: int, identity: WorkerSession) -> Answer:
        trial = self.records.trial(number)
        lifecycle.check_unfinished(trial, attempt)
        if trial.parent == parent:  # else this report was applied before
            self._tx.update(self.records.trial(parent).evolve(checkpoint=None, kept=False))
            independent_lineages = self.strategy.independent_lineages
            other = replacement_for(self._tx, self.records.trial(parent), independent_lineages=independent_lineages)
            if other is None and self.records.trial(0).is_copy:
                self.records.end(StudyState.FAILED, _NOTHING_TO_RESUME)
                return self.answer(identity, held=trial)
            again = rerooted(self.study, trial, other, independent_lineages=independent_lineages)
            self._tx.update(again)
            self.records.progress = self.records.progress.evolve(steps=self.records.progress.steps + again.steps - trial.steps)
        return self.answer(identity, held=self.records.trial(number))

    def renew(self, sessions: Sequence[str]) -> None:
        for trial in self._tx.running_in(sessions):
            self.records.renew(trial)

    def release(self, sessions: Sequence[str], *, lost: bool) -> None:
        for trial in self._tx.running_in(sessions):
            self.records.lose(trial) if lost else self._tx.update(lifecycle.release(trial))

    def redefine(self, study: StudyConfig, text: str) -> None:
        if text != self._tx.definition():
            self._tx.redefine(text)
        self._close_ended_lineages()
        if study.checkpoints != self.study.checkpoints:
            self._keep_existing(study.checkpoints)
        self.records.progress = self.records.progress.evolve(state=StudyState.ACTIVE, reason=None, failures=0)
        self.records.exclude_idle_time()

    def _close_ended_lineages(self) -> None:
        """Marks the ends of lineages that an older version completed: its upgraded store takes all of them for extendable."""
        ended = [leaf for leaf in self._tx.open_leaves("") if not self.records.is_extendable(leaf)]
        for leaf in ended:
            self._tx.update(leaf.evolve(extendable=False))

    def _keep_existing(self, retention: Retention) -> None:
        """Keeps for good the checkpoints that new rules keep. Those that older rules kept stay until `broodline gc` runs."""
        for checkpoint in self._tx.checkpoints():
            trial = self.records.trial(checkpoint.trial)
            if keeps_for_good(retention, trial):
                self._tx.update(trial.evolve(kept=True))

    def _saved_new_trial(self, new_trial: NewTrial, identity: WorkerSession) -> Trial:
        number = self.records.progress.trials
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
            self._tx.update(self.records.trial(new_trial.initiator).evolve(child=number))
        self.records.progress = self.records.progress.evolve(trials=number + 1, steps=self.records.progress.steps + trial.steps)
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
        restore = None if trial.parent is None else self.records.trial(trial.parent).checkpoint
        return Start(trial=trial, restore=restore, delete=tuple(self.records.deleted))
