"""Answers workers: one transaction each, and nothing kept between calls, so any number of controllers share a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from broodline.config import study as definition
from broodline.controller.client import Answer, Signal, WorkerSession
from broodline.controller.unit_of_work import PrecomputedDecision, SlowDecision, StrategyOf, UnitOfWork, not_now
from broodline.core.population import StudyState
from broodline.core.study import StudyConfig
from broodline.core.trial import Measurement
from broodline.errors import StudyChanged
from broodline.storage.base import Store, Transaction
from broodline.strategies.registry import load_strategy

_TRIES = 5  # at a slow decision outside of the lock


class Controller:
    """The controller over a store; what each call means stands at `Client`.

    Args:
        store: Where the studies are.
        strategy_of: Loads the strategy of a study, with its options.
    """

    def __init__(self, store: Store, *, strategy_of: StrategyOf = load_strategy) -> None:
        self._store, self._strategy_of = store, strategy_of

    def ask(self, study: str, identity: WorkerSession) -> Answer:
        return self._answered(study, identity, lambda _unit_of_work: None)

    def report(self, study: str, number: int, attempt: int, measurements: Sequence[Measurement]) -> Signal:
        with self._unit_of_work(study) as work:
            return work.report(number, attempt, measurements)

    def damaged(self, study: str, number: int, attempt: int, parent: int, identity: WorkerSession) -> Answer:
        with self._unit_of_work(study) as work:
            return work.damaged(number, attempt, parent, identity)

    def complete(
        self, study: str, number: int, attempt: int, measurements: Sequence[Measurement], checkpoint: str, identity: WorkerSession
    ) -> Answer:
        return self._answered(study, identity, lambda work: work.complete(number, attempt, measurements, checkpoint))

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
        return self._answered(study, identity, lambda work: work.fail(number, attempt, measurements, reason, output))

    def stop(self, study: str, number: int, attempt: int, measurements: Sequence[Measurement], identity: WorkerSession) -> Answer:
        return self._answered(study, identity, lambda work: work.stop(number, attempt, measurements))

    def renew(self, study: str, sessions: Sequence[str]) -> None:
        with self._unit_of_work(study) as work:
            work.renew(sessions)

    def release(self, study: str, sessions: Sequence[str], *, lost: bool = False) -> None:
        with self._unit_of_work(study) as work:
            work.release(sessions, lost=lost)

    def wait(self, seconds: float) -> None:
        self._store.wait_for_change(seconds)

    def open(self, study: StudyConfig) -> None:
        """Creates a study, or goes on with it: what may change is changed, and one that was ended is active again.

        Raises:
            StudyChanged: Something differs that can't change any more; nothing is changed.
            UsageError: Its strategy can't decide for it; nothing is created.
        """
        self._strategy_of(study.evolution).check(study)
        text = json.dumps(definition.dump(study))
        if self._store.create(study.name, text):
            return
        with self._unit_of_work(study.name) as work:
            if refused := definition.changed(work.study, study):
                raise StudyChanged(
                    f"study '{study.name}' exists and was defined otherwise:\n  " + "\n  ".join(refused) + "\n"
                    "Take the change back, or give the new study another name."
                )
            work.redefine(study, text)

    def end(self, study: str, *, now: bool, reason: str) -> None:
        """Ends a study from elsewhere: running trials finish, or (`now`) are called back."""
        with self._unit_of_work(study) as work:
            work.end(StudyState.STOPPED if now else StudyState.STOPPING, reason)

    def _answered(self, study: str, identity: WorkerSession, tell: Callable[[UnitOfWork], None]) -> Answer:
        """Saves what a worker tells and answers its next ask, in one transaction.

        Where that takes a slow decision, what was told is saved and the lock let go; what is decided outside of it is committed
        in another transaction, unless the study has gone on meanwhile: then it is decided again, the last time in the lock.
        """
        with self._unit_of_work(study) as work:
            tell(work)
            held = work.held_by(identity)
            if not work.strategy.slow:
                return work.answer(identity, held)
            try:
                return work.answer(identity, held, sample_initial=not_now)
            except SlowDecision:
                deleted = work.deleted
        for _ in range(_TRIES):
            precomputed = self._precomputed(study, identity)
            with self._unit_of_work(study) as work:
                work.deleted += deleted
                try:
                    return work.answer(identity, work.held_by(identity), sample_initial=work.as_precomputed(precomputed))
                except SlowDecision:
                    deleted = work.deleted
        with self._unit_of_work(study) as work:
            work.deleted += deleted
            return work.answer(identity, work.held_by(identity))

    def _precomputed(self, study: str, identity: WorkerSession) -> PrecomputedDecision:
        with self._store.snapshot(study) as records:
            return UnitOfWork(records, self._strategy_of).precomputed(identity)

    @contextmanager
    def _unit_of_work(self, study: str) -> Iterator[UnitOfWork]:
        with self._store.transaction(study) as transaction:
            work = UnitOfWork(transaction, self._strategy_of)
            yield work
            work.save()


def check_same(records: Transaction, study: StudyConfig) -> None:
    """Refuses to take another study for the one of that name.

    Raises:
        StudyChanged: The study in the store was defined otherwise.
    """
    if differences := definition.changed(definition.study_from(records.definition()), study):
        raise StudyChanged(f"study '{study.name}' in the store differs from this study file:\n  " + "\n  ".join(differences))
