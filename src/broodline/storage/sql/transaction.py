"""A transaction on one study in an SQL database, through SQLAlchemy Core; `sql.queries` holds its statements."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

import sqlalchemy as sa

from broodline.core.population import Progress
from broodline.core.trial import Checkpoint, Measurement, PeerScore, Score, Trial, TrialState
from broodline.errors import BroodlineError, StudyNotFound
from broodline.storage.base import Leases
from broodline.storage.sql import queries
from broodline.storage.sql.prepared import Row, execute
from broodline.storage.sql.rows import (
    measurement_of_row,
    peer_score_of_row,
    progress_of_row,
    row_of_progress,
    row_of_trial,
    rows_of_measurements,
    trial_of_row,
)
from broodline.storage.sql.schema import measurements, scores, studies, trials

_UNBOUNDED = 2**63 - 1  # the largest integer of SQL: a bound that excludes nothing


def study_row(connection: sa.Connection, query: sa.Select[Any], name: str) -> Mapping[str, Any]:
    """The row of a study.

    Raises:
        StudyNotFound: There is no such study.
    """
    rows = execute(connection, query, {"name": name}).fetchall()
    if not rows:
        known = ", ".join(connection.scalars(sa.select(studies.c.name).order_by(studies.c.id).limit(20))) or "none"
        raise StudyNotFound(f"the store has no study '{name}' (its studies: {known})")
    return dict(zip(query.selected_columns.keys(), rows[0], strict=True))


class SqlTransaction:
    """A transaction on one study, as `storage.base.Transaction` describes it.

    Args:
        connection: The connection, in a transaction of the database.
        row: The row of the study, as `study_row` returns it.
        now: The time of the transaction.
    """

    def __init__(self, connection: sa.Connection, row: Mapping[str, Any], now: float) -> None:
        self._connection, self._study, self._now = connection, int(row["id"]), now
        self._row: dict[str, Any] = dict(row)
        self._known: dict[int, Trial] = {}
        self._last_completed: dict[int, tuple[Trial, ...]] = {}
        self._first_pending: tuple[Trial, ...] | None = None  # one trial or none; None: not known

    @contextmanager
    def part(self) -> Iterator[SqlTransaction]:
        part = copy(self)
        part._known, part._last_completed = self._known.copy(), self._last_completed.copy()
        self._connection.exec_driver_sql("SAVEPOINT part")
        try:
            yield part
        except BroodlineError:
            self._connection.exec_driver_sql("ROLLBACK TO part")
            self._connection.exec_driver_sql("RELEASE part")
            raise
        self._connection.exec_driver_sql("RELEASE part")
        self._row, self._known = part._row, part._known
        self._last_completed, self._first_pending = part._last_completed, part._first_pending

    @property
    def now(self) -> float:
        return self._now

    def definition(self) -> str:
        return str(self._row["definition"])

    def redefine(self, definition: str) -> None:
        execute(self._connection, queries.SAVE_PROGRESS, {"of_study": self._study, "definition": definition})
        self._row = {**self._row, "definition": definition}

    def delete_study(self) -> None:
        """Removes all rows of the study; the transaction is of no use afterwards."""
        of_study = {"of_study": self._study}
        # Rows that refer to others go first: foreign keys are enforced.
        for table in (scores, measurements, trials):
            self._connection.execute(sa.delete(table).where(table.c.study == sa.bindparam("of_study")), of_study)
        self._connection.execute(sa.delete(studies).where(studies.c.id == sa.bindparam("of_study")), of_study)

    def progress(self) -> Progress:
        return progress_of_row(self._row)

    def save_progress(self, progress: Progress) -> None:
        row = row_of_progress(progress)
        execute(self._connection, queries.SAVE_PROGRESS, {"of_study": self._study, **row})
        self._row = {**self._row, **row}

    def insert(self, trial: Trial) -> None:
        execute(self._connection, queries.INSERT_TRIAL, {"study": self._study, **row_of_trial(trial)})
        self._known[trial.number] = trial
        self._first_pending = None

    def update(self, trial: Trial) -> None:
        before = self.trial(trial.number)
        assert before is not None
        # Only changed columns are written: the database then skips the indexes of all others.
        if changed := row_of_trial(trial, since=before):
            execute(self._connection, queries.UPDATE_TRIAL, {"of_study": self._study, "of_number": trial.number, **changed})
            self._known[trial.number] = trial
            self._last_completed.pop(trial.member, None)
            if TrialState.PENDING in (before.state, trial.state):
                self._first_pending = None
            self._keep_scores_right(before, trial)

    def _keep_scores_right(self, before: Trial, after: Trial) -> None:
        """Scores of a superseded attempt or of a failed trial count no more; a trial with another start has another place."""
        key = {"of_study": self._study, "of_trial": after.number}
        if after.attempt != before.attempt or (after.state is TrialState.FAILED and before.state is not TrialState.FAILED):
            execute(self._connection, queries.DISCOUNT, key)
            execute(self._connection, queries.NOT_MEASURED, {"of_study": self._study, "of_number": after.number})
        elif after.start != before.start:
            execute(self._connection, queries.MOVE_SCORES, {**key, "new_start": after.start})

    def trial(self, number: int) -> Trial | None:
        return self._known.get(number) or self._one(queries.TRIAL, number=number)

    def trials(self, *, after: int = -1, limit: int | None = None) -> Iterator[Trial]:
        query = queries.TRIALS_AFTER if limit is None else queries.TRIALS_AFTER.limit(limit)
        rows = self._connection.execute(query.execution_options(yield_per=500), {"of_study": self._study, "after": after})
        return (trial_of_row(row) for row in rows)

    def leases(self, worker: str, until: float) -> Leases:
        found = _by_number({trial.number: trial for trial in self._all(queries.AT_HAND, worker=worker, until=until)}.values())
        running = [trial for trial in found if trial.state is TrialState.RUNNING]
        # The same statement answers the next question of an answer: each statement takes a round trip to a server.
        self._first_pending = tuple(trial for trial in found if trial.state is TrialState.PENDING)
        return Leases(
            held=next((trial for trial in running if trial.worker == worker), None),
            expired=tuple(trial for trial in running if trial.lease_until is not None and trial.lease_until < until),
        )

    def first_pending(self) -> Trial | None:
        if self._first_pending is None:
            self._first_pending = self._all(queries.FIRST_PENDING)
        return next(iter(self._first_pending), None)

    def first_initiator(self, worker: str) -> Trial | None:
        found = sorted(self._all(queries.FIRST_INITIATORS, worker=worker), key=lambda trial: (trial.generation, trial.number))
        # Its own last trial only within the lowest generation, or a fast worker would run ahead with its member.
        return next((trial for trial in reversed(found) if trial.generation == found[0].generation), None)

    def members_started(self) -> int:
        last = self._rows(queries.LAST_MEMBER)
        return int(last[0][0]) + 1 if last else 0

    def leaves(self) -> tuple[Trial, ...]:
        return self._all(queries.LEAVES)

    def open_leaves(self, worker: str, before: int | None = None) -> Iterator[Trial]:
        below = _UNBOUNDED if before is None else before
        yield from self._in_turn(queries.NEXT_OWN_OPEN_LEAF, before=below, worker=worker)
        yield from (leaf for leaf in self._in_turn(queries.NEXT_OPEN_LEAF, before=below) if leaf.worker != worker)

    def last_completed(self, member: int) -> tuple[Trial, ...]:
        if member not in self._last_completed:
            self._last_completed[member] = self._all(queries.LAST_COMPLETED, member=member)
        return self._last_completed[member]

    def members_with_completed(self) -> tuple[int, ...]:
        return tuple(member for (member,) in self._rows(queries.MEMBERS_WITH_COMPLETED))

    def of_generation(self, generation: int) -> tuple[Trial, ...]:
        return _by_number(self._all(queries.OF_GENERATION, generation=generation))

    def any_running(self) -> bool:
        return bool(self._rows(queries.ANY_RUNNING))

    def best(self, count: int) -> tuple[Trial, ...]:
        return self._all(queries.BEST, count=count)

    def count_of_score(self, score: float) -> int:
        return int(self._rows(queries.COUNT_OF_SCORE, score=score)[0][0])

    def doubtful(self) -> tuple[int, Trial | None]:
        first = self._one(queries.FIRST_DOUBTFUL)
        return (0 if first is None else int(self._rows(queries.COUNT_DOUBTFUL)[0][0])), first

    def unfinished(self) -> tuple[Trial, ...]:
        return self._all(queries.UNFINISHED)

    def running_in(self, sessions: Sequence[str]) -> tuple[Trial, ...]:
        return _by_number(self._all(queries.RUNNING_IN, sessions=list(sessions)))

    def has_checkpoints(self) -> bool:
        # Nearly every study with checkpoints has one that is not kept, which an index holds. The other query may read all trials.
        return any(self._rows(query) for query in (queries.ANY_SWEEPABLE, queries.ANY_KEPT))

    def checkpoints(self, members: Collection[int] | None = None) -> tuple[Checkpoint, ...]:
        query = queries.CHECKPOINTS if members is None else queries.checkpoints_of(len(members))
        rows = self._rows(query, **{f"member_{index}": member for index, member in enumerate(members or ())})
        found = [Checkpoint(trial=t, member=m, generation=g, path=p, in_use=bool(used)) for t, m, g, p, used in rows]
        return tuple(sorted(found, key=lambda checkpoint: checkpoint.trial))

    def forget_checkpoint(self, trial: int) -> None:
        execute(self._connection, queries.FORGET_CHECKPOINT, {"of_study": self._study, "of_number": trial})
        if trial in self._known:
            self._known[trial] = self._known[trial].evolve(checkpoint=None)
            self._last_completed.pop(self._known[trial].member, None)

    def add_measurements(self, number: int, attempt: int, measurements_: Sequence[Measurement]) -> None:
        key = {"study": self._study, "trial": number, "attempt": attempt}
        if rows := [{**key, **row} for row in rows_of_measurements(measurements_)]:
            execute(self._connection, queries.INSERT_MEASUREMENT, rows)

    def measurements(self, number: int, attempt: int | None = None) -> tuple[Measurement, ...]:
        rows = self._rows(queries.MEASUREMENTS, of_trial=number)
        whose = rows[-1][0] if rows and attempt is None else attempt
        return tuple(measurement_of_row(step, metrics) for of_attempt, step, metrics in rows if of_attempt == whose)

    def latest_measurements(self, number: int, attempt: int) -> Iterator[Measurement]:
        before = _UNBOUNDED
        while rows := self._rows(queries.LATEST_MEASUREMENTS, of_trial=number, before=before):
            for _, of_attempt, step, metrics in rows:
                if of_attempt == attempt:
                    yield measurement_of_row(step, metrics)
                elif of_attempt < attempt:  # a superseded attempt reports no more, so attempts lie one after the other
                    return
            before = rows[-1][0]

    def add_scores(self, number: int, attempt: int, scores_: Sequence[Score]) -> None:
        trial = self.trial(number)
        assert trial is not None
        counts = attempt == trial.attempt and trial.state is not TrialState.FAILED
        last = {score.step: score for score in scores_}
        key = {"study": self._study, "trial": number, "attempt": attempt, "start": trial.start}
        if rows := [{**key, "step": s.step, "score": s.value, "counts": counts and last[s.step] is s} for s in scores_]:
            if counts:
                self._note_measured(number, sorted(last))
            execute(self._connection, queries.INSERT_SCORE, rows)

    def _note_measured(self, number: int, steps: Sequence[int]) -> None:
        """Notes how far a trial is measured; earlier scores at these steps, if there are any, count no more."""
        key = {"of_study": self._study, "of_number": number, "latest": steps[-1]}
        if execute(self._connection, queries.NOTE_MEASURED, {**key, "earliest": steps[0]}).rowcount:
            return  # the common case: all earlier steps were before these
        execute(self._connection, queries.DISCOUNT_STEPS, {"of_study": self._study, "of_trial": number, "steps": list(steps)})
        execute(self._connection, queries.NOTE_MEASURED, {**key, "earliest": steps[-1]})

    def middle_scores(self, step: int, count: int, besides: int) -> tuple[int, tuple[float, ...]] | None:
        last = self._rows(queries.LAST_PEER, step=step, offset=count - 1)
        start, number = last[0] if last else (-_UNBOUNDED, -1)  # fewer trials than `count`: then all of them are compared
        place = {"step": step, "besides": besides, "start": start, "number": number}
        standing, measured = self._rows(queries.STANDING_AND_MEASURED, count=count, **place)[0]
        # A peer has passed the step without a score at it, so the index does not hold its score there.
        if standing != measured:
            return None
        middle = {"offset": max(0, standing - 1) // 2, "count": 2 - standing % 2}
        return standing, tuple(score for (score,) in self._rows(queries.MIDDLE, **place, **middle))

    def peer_scores(self, step: int, count: int) -> tuple[PeerScore, ...]:
        return tuple(peer_score_of_row(row) for row in self._rows(queries.PEER_SCORES, step=step, count=count))

    def _one(self, query: sa.Select[Any], **values: Any) -> Trial | None:
        rows = self._rows(query, **values)
        return self._remembered(rows[0]) if rows else None

    def _all(self, query: sa.Select[Any] | sa.CompoundSelect[Any], **values: Any) -> tuple[Trial, ...]:
        return tuple([self._remembered(row) for row in self._rows(query, **values)])

    def _rows(self, query: sa.Select[Any] | sa.CompoundSelect[Any], **values: Any) -> Sequence[Row]:
        return execute(self._connection, query, {"of_study": self._study, **values}).fetchall()

    def _in_turn(self, query: sa.Select[Any], **values: Any) -> Iterator[Trial]:
        """Each trial by a query of its own, from the last one's place on: a caller that stops early reads no more."""
        generation = number = -1
        while (trial := self._one(query, generation=generation, number=number, **values)) is not None:
            yield trial
            generation, number = trial.generation, trial.number

    def _remembered(self, row: Row) -> Trial:
        """A transaction sees no writes of others, so a trial that was read once stays valid."""
        number: int = row[0]
        if number not in self._known:
            self._known[number] = trial_of_row(row)
        return self._known[number]


def _by_number(trials_: Iterable[Trial]) -> tuple[Trial, ...]:
    return tuple(sorted(trials_, key=lambda trial: trial.number))
