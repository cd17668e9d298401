"""The controller: it answers each call of a worker in one transaction of the store.

Theory of operation
-------------------

A controller keeps no state between calls. Everything is in the store, and a transaction of the store excludes all others. So
any number of controllers, in any number of processes, can serve one study: each worker process has its own.

A call is a unit of work: save the report, take back expired leases, choose the next trial, lease it, commit. The worker gets
the answer after the commit. If the process dies before the commit, nothing has happened. If it dies after the commit, the
worker repeats the call: the report has no second effect, and the answer is the trial that the worker already holds.

Some strategies sample a new member by fitting a model, which takes seconds. A lock held for that long would stop all other
workers. `_answered` therefore works in three steps:

1. The transaction saves the report. If the answer takes a slow decision, it commits without one.
2. The decision is computed from a snapshot, outside of the lock, and noted with the version of the study that it is for.
3. Another transaction answers with the precomputed decision, if the study still has that version.

A study that changed during step 2 makes the decision stale, and steps 2 and 3 are repeated. After `_TRIES` repetitions the
decision is made inside the lock, so that a busy study cannot starve a worker.

A commit waits for the disk. A process that has the calls of many workers at hand executes them with `together`: in one
transaction with one commit, where each call is a part that fails alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from broodline.config import study as definition
from broodline.controller.client import Answer, Signal, WorkerSession
from broodline.controller.study_records import StrategyOf
from broodline.controller.unit_of_work import PrecomputedDecision, SlowDecision, UnitOfWork, not_now
from broodline.core.population import StudyState
from broodline.core.study import StudyConfig
from broodline.core.trial import Measurement
from broodline.core.untrained import Likeness
from broodline.errors import BroodlineError, RetryableError, StoreError, StudyChanged
from broodline.storage.base import Store, Transaction
from broodline.strategies.registry import load_strategy

_TRIES = 5  # computations of a slow decision outside of the lock

T = TypeVar("T")
Work = Callable[[UnitOfWork], T]
"""The work of one call inside of its transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided:
    """The report of a call is saved, and its answer takes a slow decision: `Controller.decide` makes it.

    Args:
        delete: Checkpoints that are no longer needed.
    """

    delete: tuple[str, ...]


def answering(identity: WorkerSession, save: Work[None] = lambda _: None) -> Work[Answer | Undecided]:
    """The work of a call that saves a worker's report and answers its next ask."""

    def work(unit: UnitOfWork) -> Answer | Undecided:
        save(unit)
        if not unit.strategy.slow:
            return unit.answer(identity)
        try:
            return unit.answer(identity, sample_initial=not_now)
        except SlowDecision:
            return Undecided(delete=tuple(unit.records.deleted))

    return work


class Controller:
    """The controller of the studies in a store. `Client` describes its calls.

    Args:
        store: The store.
        strategy_of: Loads the strategy of a study, with its options.
    """

    def __init__(self, store: Store, *, strategy_of: StrategyOf = load_strategy) -> None:
        self._store, self._strategy_of = store, strategy_of

    def ask(self, study: str, identity: WorkerSession) -> Answer:
        return self._answered(study, identity, lambda _: None)

    def report(self, study: str, number: int, attempt: int, measurements: Sequence[Measurement], index: int) -> Signal:
        with self._unit_of_work(study) as work:
            return work.reports.report(number, attempt, measurements, index)

    def damaged(self, study: str, number: int, attempt: int, parent: int, identity: WorkerSession) -> Answer:
        with self._unit_of_work(study) as work:
            return work.damaged(number, attempt, parent, identity)

    def complete(
        self,
        study: str,
        number: int,
        attempt: int,
        measurements: Sequence[Measurement],
        checkpoint: str,
        identity: WorkerSession,
        likeness: Likeness | None = None,
    ) -> Answer:
        return self._answered(
            study, identity, lambda work: work.reports.complete(number, attempt, measurements, checkpoint, likeness)
        )

    def fail(
        self,
        study: str,
        number: int,
        attempt: int,
        measurements: Sequence[Measurement],
        reason: str,
        output: str,
        identity: WorkerSession,
    ) -> Answer:
        return self._answered(study, identity, lambda work: work.reports.fail(number, attempt, measurements, reason, output))

    def stop(self, study: str, number: int, attempt: int, measurements: Sequence[Measurement], identity: WorkerSession) -> Answer:
        return self._answered(study, identity, lambda work: work.reports.stop(number, attempt, measurements))

    def renew(self, study: str, sessions: Sequence[str]) -> None:
        with self._unit_of_work(study) as work:
            work.renew(sessions)

    def release(self, study: str, sessions: Sequence[str], *, lost: bool = False) -> None:
        with self._unit_of_work(study) as work:
            work.release(sessions, lost=lost)

    def wait(self, seconds: float) -> None:
        self._store.wait_for_change(seconds)

    def wake(self) -> None:
        """Does nothing: no wait is long."""

    def open(self, study: StudyConfig) -> None:
        """Creates a study, or resumes it: settings that may change are updated, and a study that had ended is active again.

        Raises:
            StudyChanged: A setting differs that can't change after the start; nothing is changed.
            UsageError: The strategy can't decide for this study; nothing is created.
        """
        # Before anything is written: a study whose strategy can't decide here is not created.
        self._strategy_of(study.evolution).check(study)
        text = json.dumps(definition.dump(study))
        # The store decides which of two processes that open a study at once creates it.
        if self._store.create(study.name, text):
            return
        with self._unit_of_work(study.name) as work:
            if refused := definition.changed(work.study, study):
                raise StudyChanged(
                    f"study '{study.name}' exists with other settings:\n  " + "\n  ".join(refused) + "\n"
                    "help: undo the change, or give the new study another name"
                )
            work.redefine(study, text)

    def end(self, study: str, *, now: bool, reason: str) -> None:
        """Ends a study: running trials finish, or with `now` are recalled."""
        with self._unit_of_work(study) as work:
            work.records.end(StudyState.STOPPED if now else StudyState.STOPPING, reason)

    def together(self, study: str, works: Sequence[Work[Any]]) -> list[Any]:
        """Executes the work of several calls in one transaction. An error of broodline undoes the one call that raised it.

        Returns:
            The result of each call, or its error.

        Raises:
            StoreUnavailable: The store does not answer at the moment; nothing of any call was changed.
            StoreError: The store can't be used; likewise.
            StudyNotFound: There is no such study.
            Exception: An error that is none of broodline left a call; nothing of any call was changed.
        """
        with self._store.transaction(study) as transaction:
            return [self._outcome(transaction, work) for work in works]

    def decide(self, study: str, identity: WorkerSession, undecided: Undecided) -> Answer:
        """Answers a call whose report is saved; the theory of operation above explains slow decisions."""
        deleted = list(undecided.delete)
        # Other workers may start or finish trials while this decision is computed, which outdates it.
        for _ in range(_TRIES):
            precomputed = self._precomputed(study, identity)
            with self._unit_of_work(study) as work:
                work.records.deleted += deleted
                try:
                    return work.answer(identity, sample_initial=work.as_precomputed(precomputed))
                except SlowDecision:
                    deleted = work.records.deleted
        # A busy study could outdate every computation: the last one holds the lock, so each worker gets an answer.
        with self._unit_of_work(study) as work:
            work.records.deleted += deleted
            return work.answer(identity)

    def _answered(self, study: str, identity: WorkerSession, save: Work[None]) -> Answer:
        with self._unit_of_work(study) as unit:
            outcome = answering(identity, save)(unit)
        return self.decide(study, identity, outcome) if isinstance(outcome, Undecided) else outcome

    def _outcome(self, transaction: Transaction, work: Work[Any]) -> Any:
        try:
            with transaction.part() as records:
                unit = UnitOfWork(records, self._strategy_of)
                result = work(unit)
                unit.records.save()
                return result
        except (RetryableError, StoreError):
            raise
        except BroodlineError as error:
            return error

    def _precomputed(self, study: str, identity: WorkerSession) -> PrecomputedDecision:
        with self._store.snapshot(study) as records:
            return UnitOfWork(records, self._strategy_of).precomputed(identity)

    @contextmanager
    def _unit_of_work(self, study: str) -> Iterator[UnitOfWork]:
        with self._store.transaction(study) as transaction:
            work = UnitOfWork(transaction, self._strategy_of)
            yield work
            work.records.save()


def check_same(records: Transaction, study: StudyConfig) -> None:
    """Refuses a study file that does not describe the study of that name in the store.

    Raises:
        StudyChanged: The study in the store has other settings.
    """
    if differences := definition.changed(definition.study_from(records.definition()), study):
        raise StudyChanged(
            f"study '{study.name}' in the store differs from this study file:\n  " + "\n  ".join(differences) + "\n"
            "help: undo the change here, or name the store of this study with --store"
        )
