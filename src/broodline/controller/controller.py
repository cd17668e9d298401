"""Answers workers: one transaction each, and nothing kept between calls, so any number of controllers share a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from broodline.config import study as definition
from broodline.controller.client import Answer, Asker, Signal
from broodline.controller.unit_of_work import Foreseen, StrategyOf, TakesLongError, Turn, not_now
from broodline.core.population import StudyState
from broodline.core.study import Study
from broodline.core.trial import Measurement
from broodline.errors import StudyChanged
from broodline.storage.base import Store, Transaction
from broodline.strategies.registry import load_strategy

_TRIES = 5  # at a slow decision outside of the lock


class Controller:
    """The controller over a store; what each call means stands at `Client`.

    Args:
        store: Where the studies are.
        strategy_of: Finds a strategy by name.
    """

    def __init__(self, store: Store, *, strategy_of: StrategyOf = load_strategy) -> None:
        self._store, self._strategy_of = store, strategy_of

    def ask(self, study: str, asker: Asker) -> Answer:
        return self._answered(study, asker, lambda _turn: None)

    def report(self, study: str, number: int, attempt: int, measurements: Sequence[Measurement]) -> Signal:
        with self._turn(study) as turn:
            return turn.report(number, attempt, measurements)

    def damaged(self, study: str, number: int, attempt: int, parent: int, asker: Asker) -> Answer:
        with self._turn(study) as turn:
            return turn.damaged(number, attempt, parent, asker)

    def complete(
        self, study: str, number: int, attempt: int, measurements: Sequence[Measurement], checkpoint: str, asker: Asker
    ) -> Answer:
        return self._answered(study, asker, lambda turn: turn.complete(number, attempt, measurements, checkpoint))

    def fail(
        self, study: str, number: int, attempt: int, measurements: Sequence[Measurement], reason: str, output: str, asker: Asker
    ) -> Answer:
        return self._answered(study, asker, lambda turn: turn.fail(number, attempt, measurements, reason, output))

    def stop(self, study: str, number: int, attempt: int, measurements: Sequence[Measurement], asker: Asker) -> Answer:
        return self._answered(study, asker, lambda turn: turn.stop(number, attempt, measurements))

    def renew(self, study: str, sessions: Sequence[str]) -> None:
        with self._turn(study) as turn:
            turn.renew(sessions)

    def release(self, study: str, sessions: Sequence[str], *, lost: bool = False) -> None:
        with self._turn(study) as turn:
            turn.release(sessions, lost=lost)

    def wait(self, seconds: float) -> None:
        self._store.wait_for_change(seconds)

    def open(self, study: Study) -> None:
        """Creates a study, or goes on with it: what may change is changed, and one that was ended is active again.

        Raises:
            StudyChanged: Something differs that can't change any more; nothing is changed.
            UsageError: Its strategy can't decide for it; nothing is created.
        """
        self._strategy_of(study.evolution.strategy).check(study)
        text = json.dumps(definition.dump(study))
        if self._store.create(study.name, text):
            return
        with self._turn(study.name) as turn:
            if refused := definition.changed(turn.study, study):
                raise StudyChanged(
                    f"study '{study.name}' exists and was defined otherwise:\n  " + "\n  ".join(refused) + "\n"
                    "Take the change back, or give the new study another name."
                )
            turn.redefine(study, text)

    def end(self, study: str, *, now: bool, reason: str) -> None:
        """Ends a study from elsewhere: running trials finish, or (`now`) are called back."""
        with self._turn(study) as turn:
            turn.end(StudyState.STOPPED if now else StudyState.STOPPING, reason)

    def _answered(self, study: str, asker: Asker, tell: Callable[[Turn], None]) -> Answer:
        """Saves what a worker tells and answers its next ask, in one transaction.

        Where that takes a slow decision, what was told is saved and the lock let go; what is decided outside of it is committed
        in another transaction, unless the study has gone on meanwhile: then it is decided again, the last time in the lock.
        """
        with self._turn(study) as turn:
            tell(turn)
            held = turn.held_by(asker)
            if not turn.strategy.slow:
                return turn.answer(asker, held)
            try:
                return turn.answer(asker, held, begin=not_now)
            except TakesLongError:
                swept = turn.swept
        for _ in range(_TRIES):
            foreseen = self._foreseen(study, asker)
            with self._turn(study) as turn:
                turn.swept += swept
                try:
                    return turn.answer(asker, turn.held_by(asker), begin=turn.as_foreseen(foreseen))
                except TakesLongError:
                    swept = turn.swept
        with self._turn(study) as turn:
            turn.swept += swept
            return turn.answer(asker, turn.held_by(asker))

    def _foreseen(self, study: str, asker: Asker) -> Foreseen:
        with self._store.snapshot(study) as records:
            return Turn(records, self._strategy_of).foreseen(asker)

    @contextmanager
    def _turn(self, study: str) -> Iterator[Turn]:
        with self._store.transaction(study) as transaction:
            turn = Turn(transaction, self._strategy_of)
            yield turn
            turn.save()


def check_same(records: Transaction, study: Study) -> None:
    """Refuses to take another study for the one of that name.

    Raises:
        StudyChanged: The study in the store was defined otherwise.
    """
    if differences := definition.changed(definition.study_from(records.definition()), study):
        raise StudyChanged(f"study '{study.name}' in the store differs from this study file:\n  " + "\n  ".join(differences))
