"""Studies in an SQL database, through SQLAlchemy Core: one statement for each question, and an index that answers it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from broodline.core.population import Progress
from broodline.core.trial import Checkpoint, Measurement, PeerScore, Score, Trial, TrialState
from broodline.errors import StudyNotFound
from broodline.storage.sql import schema
from broodline.storage.sql.rows import (
    FIELDS,
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

_study = trials.c.study == sa.bindparam("of_study")
_trials = sa.select(*(trials.c[name] for name in FIELDS)).where(_study)
_worker = trials.c.worker == sa.bindparam("worker")
_member = trials.c.member == sa.bindparam("member")


def _by(index: str, query: sa.Select[Any]) -> sa.Select[Any]:
    """A query through this index. Without the hint SQLite may scan a study by its primary key, which slows down as it grows."""
    return query.with_hint(trials, f"INDEXED BY {index}", "sqlite")


def _among(column: sa.Column[Any], name: str) -> sa.ColumnElement[bool]:
    return column.in_(sa.bindparam(name, expanding=True))


_initiators = _trials.where(schema.NOT_INITIATED)

FIND_STUDY = sa.select(studies).where(studies.c.name == sa.bindparam("name"))
TRIAL = _trials.where(trials.c.number == sa.bindparam("number"))
TRIALS_AFTER = _trials.where(trials.c.number > sa.bindparam("after")).order_by(trials.c.number)
OF_GENERATION = _trials.where(trials.c.generation == sa.bindparam("generation")).order_by(trials.c.member)
UNFINISHED = _by("unfinished_trials", _trials.where(schema.UNFINISHED).order_by(trials.c.number))
FIRST_PENDING = _by("pending_trials", _trials.where(schema.PENDING).order_by(trials.c.number).limit(1))
HELD_BY = _by("held_trials", _trials.where(schema.RUNNING, _worker).limit(1))
RUNNING_IN = _by("sessions", _trials.where(schema.RUNNING, _among(trials.c.session, "sessions")))
RUNNING_UNTIL = _by("leases", _trials.where(schema.RUNNING, trials.c.lease_until < sa.bindparam("time")))
ANY_RUNNING = _by("leases", sa.select(sa.literal(1)).select_from(trials).where(_study, schema.RUNNING).limit(1))
LOWEST_GENERATION = _by("initiators", _initiators.order_by(trials.c.generation, trials.c.number).limit(1))
OWN_LAST = _by("initiators_by_worker", _initiators.where(_worker).order_by(trials.c.finished.desc()).limit(1))
LAST_MEMBER = sa.select(trials.c.member).where(_study, trials.c.generation == 0).order_by(trials.c.member.desc()).limit(1)
LEAVES = _by("initiators", _initiators.order_by(trials.c.generation, trials.c.number))
_open_leaves = _trials.where(
    schema.OPEN_LEAF,
    trials.c.generation < sa.bindparam("before"),
    sa.tuple_(trials.c.generation, trials.c.number) > sa.tuple_(sa.bindparam("generation"), sa.bindparam("number")),
).order_by(trials.c.generation, trials.c.number)
NEXT_OPEN_LEAF = _by("open_leaves", _open_leaves.limit(1))
NEXT_OWN_OPEN_LEAF = _by("open_leaves_by_worker", _open_leaves.where(_worker).limit(1))
LAST_COMPLETED = _by("completed_trials", _trials.where(schema.COMPLETED, _member).order_by(trials.c.generation.desc()).limit(2))
# It reads all completed trials. It runs only while so few members have one that a random draw of members found none.
MEMBERS_WITH_COMPLETED = _by(
    "completed_trials", sa.select(trials.c.member).distinct().where(_study, schema.COMPLETED).order_by(trials.c.member)
)
BEST = _by(
    "best_trials",
    _trials.where(schema.COMPLETED)
    .order_by(trials.c.score.desc(), (trials.c.start + trials.c.steps).desc(), trials.c.number.desc())
    .limit(sa.bindparam("count", type_=sa.Integer)),
)
COUNT_OF_SCORE = _by(
    "best_trials",
    sa.select(sa.func.count()).select_from(trials).where(_study, schema.COMPLETED, trials.c.score == sa.bindparam("score")),
)
COUNT_DOUBTFUL = _by("doubtful_trials", sa.select(sa.func.count()).select_from(trials).where(_study, schema.DOUBTFUL))
FIRST_DOUBTFUL = _by("doubtful_trials", _trials.where(schema.DOUBTFUL).order_by(trials.c.number).limit(1))
_children = trials.alias("children")
_in_use = (
    sa.select(sa.literal(1))
    .where(
        _children.c.study == trials.c.study,
        _children.c.parent == trials.c.number,
        sa.text("children.state IN ('pending', 'running')"),
    )
    .with_hint(_children, "INDEXED BY children_in_training", "sqlite")
    .correlate(trials)
    .exists()
)
CHECKPOINTS = _by(
    "sweepable_checkpoints",
    sa.select(trials.c.number, trials.c.member, trials.c.generation, trials.c.checkpoint, _in_use).where(
        _study, schema.SWEEPABLE
    ),
)
CHECKPOINTS_OF = CHECKPOINTS.where(_member)
FORGET_CHECKPOINT = sa.update(trials).where(_study, trials.c.number == sa.bindparam("of_number")).values(checkpoint=None)
MEASUREMENTS = (
    sa.select(measurements.c.attempt, measurements.c.step, measurements.c.metrics)
    .where(measurements.c.study == sa.bindparam("of_study"), measurements.c.trial == sa.bindparam("of_trial"))
    .order_by(measurements.c.id)
)
_PAGE = 32  # measurements: one page nearly always suffices, since a mean is of few values
LATEST_MEASUREMENTS = (
    sa.select(measurements.c.id, measurements.c.attempt, measurements.c.step, measurements.c.metrics)
    .where(
        measurements.c.study == sa.bindparam("of_study"),
        measurements.c.trial == sa.bindparam("of_trial"),
        measurements.c.id < sa.bindparam("before"),
    )
    .with_hint(measurements, "INDEXED BY measurements_of_trials", "sqlite")
    .order_by(measurements.c.id.desc())
    .limit(_PAGE)
)
_scores = (
    sa.select(scores.c.score)
    .where(scores.c.study == trials.c.study, scores.c.trial == trials.c.number, scores.c.attempt == trials.c.attempt)
    .with_hint(scores, "INDEXED BY scores_of_trials", "sqlite")
    .order_by(scores.c.step.desc(), scores.c.id.desc())
    .limit(1)
    .correlate(trials)
)
PEER_SCORES = _by(
    "peers",
    sa.select(
        trials.c.number,
        trials.c.state,
        _scores.where(scores.c.step <= sa.bindparam("step")).scalar_subquery(),
        _scores.with_only_columns(scores.c.step).scalar_subquery(),
    )
    .where(_study, trials.c.start < sa.bindparam("step"))
    .order_by(trials.c.start.desc(), trials.c.number.desc())
    .limit(sa.bindparam("count", type_=sa.Integer)),
)
_started_before = trials.c.start < sa.bindparam("step")
_latest_first = (trials.c.start.desc(), trials.c.number.desc())
# The trial with the lowest place among those that are compared at a step; none if there are fewer.
LAST_PEER = _by(
    "peers",
    sa.select(trials.c.start, trials.c.number)
    .where(_study, _started_before)
    .order_by(*_latest_first)
    .limit(1)
    .offset(sa.bindparam("offset", type_=sa.Integer)),
)
_peers = _by(
    "peers",
    sa.select(trials.c.number, trials.c.measured)
    .where(_study, _started_before)
    .order_by(*_latest_first)
    .limit(sa.bindparam("count", type_=sa.Integer)),
).subquery("peers")
PEERS_MEASURED = (
    sa.select(sa.func.count())
    .select_from(_peers)
    .where(_peers.c.measured >= sa.bindparam("step"), _peers.c.number != sa.bindparam("besides"))
)
_standing = (
    sa.select(scores.c.score)
    .where(
        scores.c.study == sa.bindparam("of_study"),
        scores.c.step == sa.bindparam("step"),
        schema.COUNTS,
        scores.c.trial != sa.bindparam("besides"),
        scores.c.start < sa.bindparam("step"),
        sa.tuple_(scores.c.start, scores.c.trial) >= sa.tuple_(sa.bindparam("start"), sa.bindparam("number")),
    )
    .with_hint(scores, "INDEXED BY scores_at_steps", "sqlite")
)
STANDING_AND_MEASURED = sa.select(
    _standing.with_only_columns(sa.func.count()).scalar_subquery(), PEERS_MEASURED.scalar_subquery()
)
MIDDLE = (
    _standing.order_by(scores.c.score)
    .limit(sa.bindparam("count", type_=sa.Integer))
    .offset(sa.bindparam("offset", type_=sa.Integer))
)
_of_trial = (scores.c.study == sa.bindparam("of_study"), scores.c.trial == sa.bindparam("of_trial"), schema.COUNTS)
DISCOUNT = sa.update(scores).where(*_of_trial).values(counts=False)
DISCOUNT_STEPS = DISCOUNT.where(_among(scores.c.step, "steps"))
MOVE_SCORES = sa.update(scores).where(*_of_trial).values(start=sa.bindparam("new_start"))
INSERT_SCORE = sa.insert(scores)
INSERT_TRIAL = sa.insert(trials)
INSERT_MEASUREMENT = sa.insert(measurements)
SAVE_PROGRESS = sa.update(studies).where(studies.c.id == sa.bindparam("of_study"))
UPDATE_TRIAL = sa.update(trials).where(_study, trials.c.number == sa.bindparam("of_number"))
NOTE_MEASURED = UPDATE_TRIAL.where(
    sa.or_(trials.c.measured.is_(None), trials.c.measured < sa.bindparam("earliest", type_=sa.Integer))
).values(measured=sa.bindparam("latest"))


class SqlTransaction:
    """A transaction on one study, as `storage.base.Transaction` describes it."""

    def __init__(self, connection: sa.Connection, name: str, now: float) -> None:
        row = connection.execute(FIND_STUDY, {"name": name}).mappings().first()
        if row is None:
            known = ", ".join(connection.scalars(sa.select(studies.c.name).order_by(studies.c.id).limit(20))) or "none"
            raise StudyNotFound(f"the store has no study '{name}' (its studies: {known})")
        self._connection, self._study, self._now = connection, int(row["id"]), now
        self._row: dict[str, Any] = dict(row)
        self._known: dict[int, Trial] = {}
        self._last_completed: dict[int, tuple[Trial, ...]] = {}

    @property
    def now(self) -> float:
        return self._now

    def definition(self) -> str:
        return str(self._row["definition"])

    def redefine(self, definition: str) -> None:
        self._connection.execute(SAVE_PROGRESS, {"of_study": self._study, "definition": definition})
        self._row = {**self._row, "definition": definition}

    def delete_study(self) -> None:
        """Removes all rows of the study; the transaction is of no use afterwards."""
        of_study = {"of_study": self._study}
        for table in (scores, measurements, trials):
            self._connection.execute(sa.delete(table).where(table.c.study == sa.bindparam("of_study")), of_study)
        self._connection.execute(sa.delete(studies).where(studies.c.id == sa.bindparam("of_study")), of_study)

    def progress(self) -> Progress:
        return progress_of_row(self._row)

    def save_progress(self, progress: Progress) -> None:
        row = row_of_progress(progress)
        self._connection.execute(SAVE_PROGRESS, {"of_study": self._study, **row})
        self._row = {**self._row, **row}

    def insert(self, trial: Trial) -> None:
        self._connection.execute(INSERT_TRIAL, {"study": self._study, **row_of_trial(trial)})
        self._known[trial.number] = trial

    def update(self, trial: Trial) -> None:
        before = self.trial(trial.number)
        assert before is not None
        # Only changed columns are written: the database then skips the indexes of all others.
        if changed := row_of_trial(trial, since=before):
            self._connection.execute(UPDATE_TRIAL, {"of_study": self._study, "of_number": trial.number, **changed})
            self._known[trial.number] = trial
            self._last_completed.pop(trial.member, None)
            self._keep_scores_right(before, trial)

    def _keep_scores_right(self, before: Trial, after: Trial) -> None:
        """Scores of a superseded attempt or of a failed trial count no more; a trial with another start has another place."""
        key = {"of_study": self._study, "of_trial": after.number}
        if after.attempt != before.attempt or (after.state is TrialState.FAILED and before.state is not TrialState.FAILED):
            self._connection.execute(DISCOUNT, key)
            self._connection.execute(UPDATE_TRIAL, {"of_study": self._study, "of_number": after.number, "measured": None})
        elif after.start != before.start:
            self._connection.execute(MOVE_SCORES, {**key, "new_start": after.start})

    def trial(self, number: int) -> Trial | None:
        return self._known.get(number) or self._one(TRIAL, number=number)

    def trials(self, *, after: int = -1, limit: int | None = None) -> Iterator[Trial]:
        query = TRIALS_AFTER if limit is None else TRIALS_AFTER.limit(limit)
        rows = self._connection.execution_options(yield_per=500).execute(query, {"of_study": self._study, "after": after})
        return (trial_of_row(row) for row in rows)

    def held_by(self, worker: str) -> Trial | None:
        return self._one(HELD_BY, worker=worker)

    def first_pending(self) -> Trial | None:
        return self._one(FIRST_PENDING)

    def first_initiator(self, worker: str) -> Trial | None:
        first = self._one(LOWEST_GENERATION)
        if first is None:
            return None
        own = self._one(OWN_LAST, worker=worker)
        return own if own is not None and own.generation == first.generation else first

    def members_started(self) -> int:
        last = self._connection.execute(LAST_MEMBER, {"of_study": self._study}).first()
        return 0 if last is None else int(last[0]) + 1

    def leaves(self) -> tuple[Trial, ...]:
        return self._all(LEAVES)

    def open_leaves(self, worker: str, before: int | None = None) -> Iterator[Trial]:
        below = _UNBOUNDED if before is None else before
        yield from self._in_turn(NEXT_OWN_OPEN_LEAF, before=below, worker=worker)
        yield from (leaf for leaf in self._in_turn(NEXT_OPEN_LEAF, before=below) if leaf.worker != worker)

    def last_completed(self, member: int) -> tuple[Trial, ...]:
        if member not in self._last_completed:
            self._last_completed[member] = self._all(LAST_COMPLETED, member=member)
        return self._last_completed[member]

    def members_with_completed(self) -> tuple[int, ...]:
        return tuple(self._connection.scalars(MEMBERS_WITH_COMPLETED, {"of_study": self._study}))

    def of_generation(self, generation: int) -> tuple[Trial, ...]:
        return _by_number(self._all(OF_GENERATION, generation=generation))

    def any_running(self) -> bool:
        return self._connection.execute(ANY_RUNNING, {"of_study": self._study}).first() is not None

    def best(self, count: int) -> tuple[Trial, ...]:
        return self._all(BEST, count=count)

    def count_of_score(self, score: float) -> int:
        return int(self._connection.scalar(COUNT_OF_SCORE, {"of_study": self._study, "score": score}) or 0)

    def doubtful(self) -> tuple[int, Trial | None]:
        first = self._one(FIRST_DOUBTFUL)
        return (0 if first is None else int(self._connection.scalar(COUNT_DOUBTFUL, {"of_study": self._study}) or 0)), first

    def unfinished(self) -> tuple[Trial, ...]:
        return self._all(UNFINISHED)

    def running_until(self, time: float) -> tuple[Trial, ...]:
        return _by_number(self._all(RUNNING_UNTIL, time=time))

    def running_in(self, sessions: Sequence[str]) -> tuple[Trial, ...]:
        return _by_number(self._all(RUNNING_IN, sessions=list(sessions)))

    def checkpoints(self, member: int | None = None) -> tuple[Checkpoint, ...]:
        values = {"of_study": self._study} | ({} if member is None else {"member": member})
        rows = self._connection.execute(CHECKPOINTS if member is None else CHECKPOINTS_OF, values)
        return tuple(Checkpoint(trial=t, member=m, generation=g, path=p, in_use=bool(used)) for t, m, g, p, used in rows)

    def forget_checkpoint(self, trial: int) -> None:
        self._connection.execute(FORGET_CHECKPOINT, {"of_study": self._study, "of_number": trial})
        if trial in self._known:
            self._known[trial] = self._known[trial].evolve(checkpoint=None)
            self._last_completed.pop(self._known[trial].member, None)

    def add_measurements(self, number: int, attempt: int, measurements_: Sequence[Measurement]) -> None:
        key = {"study": self._study, "trial": number, "attempt": attempt}
        if rows := [{**key, **row} for row in rows_of_measurements(measurements_)]:
            self._connection.execute(INSERT_MEASUREMENT, rows)

    def measurements(self, number: int, attempt: int | None = None) -> tuple[Measurement, ...]:
        rows = self._connection.execute(MEASUREMENTS, {"of_study": self._study, "of_trial": number}).all()
        whose = rows[-1].attempt if rows and attempt is None else attempt
        return tuple(measurement_of_row(row.step, row.metrics) for row in rows if row.attempt == whose)

    def latest_measurements(self, number: int, attempt: int) -> Iterator[Measurement]:
        before = _UNBOUNDED
        while rows := self._connection.execute(
            LATEST_MEASUREMENTS, {"of_study": self._study, "of_trial": number, "before": before}
        ).all():
            for row in rows:
                if row.attempt == attempt:
                    yield measurement_of_row(row.step, row.metrics)
                elif row.attempt < attempt:  # a superseded attempt reports no more, so attempts lie one after the other
                    return
            before = rows[-1].id

    def add_scores(self, number: int, attempt: int, scores_: Sequence[Score]) -> None:
        trial = self.trial(number)
        assert trial is not None
        counts = attempt == trial.attempt and trial.state is not TrialState.FAILED
        last = {score.step: score for score in scores_}
        key = {"study": self._study, "trial": number, "attempt": attempt, "start": trial.start}
        if rows := [{**key, "step": s.step, "score": s.value, "counts": counts and last[s.step] is s} for s in scores_]:
            if counts:
                self._note_measured(number, sorted(last))
            self._connection.execute(INSERT_SCORE, rows)

    def _note_measured(self, number: int, steps: Sequence[int]) -> None:
        """Notes how far a trial is measured; earlier scores at these steps, if there are any, count no more."""
        key = {"of_study": self._study, "of_number": number, "latest": steps[-1]}
        if self._connection.execute(NOTE_MEASURED, {**key, "earliest": steps[0]}).rowcount:
            return  # the common case: all earlier steps were before these
        self._connection.execute(DISCOUNT_STEPS, {"of_study": self._study, "of_trial": number, "steps": list(steps)})
        self._connection.execute(NOTE_MEASURED, {**key, "earliest": steps[-1]})

    def middle_scores(self, step: int, count: int, besides: int) -> tuple[int, tuple[float, ...]] | None:
        key = {"of_study": self._study, "step": step, "besides": besides}
        last = self._connection.execute(LAST_PEER, {**key, "offset": count - 1}).first() or (-_UNBOUNDED, -1)
        place = {**key, "start": last[0], "number": last[1]}
        standing, measured = self._connection.execute(STANDING_AND_MEASURED, {**place, "count": count}).one()
        if standing != measured:
            return None
        middle = {"offset": max(0, standing - 1) // 2, "count": 2 - standing % 2}
        return standing, tuple(self._connection.scalars(MIDDLE, {**place, **middle}))

    def peer_scores(self, step: int, count: int) -> tuple[PeerScore, ...]:
        rows = self._connection.execute(PEER_SCORES, {"of_study": self._study, "step": step, "count": count})
        return tuple(peer_score_of_row(row) for row in rows)

    def _one(self, query: sa.Select[Any], **values: Any) -> Trial | None:
        row = self._connection.execute(query, {"of_study": self._study, **values}).first()
        return None if row is None else self._remembered(row)

    def _all(self, query: sa.Select[Any], **values: Any) -> tuple[Trial, ...]:
        rows = self._connection.execute(query, {"of_study": self._study, **values})
        return tuple(self._remembered(row) for row in rows)

    def _in_turn(self, query: sa.Select[Any], **values: Any) -> Iterator[Trial]:
        """Each trial by a query of its own, from the last one's place on: a caller that stops early reads no more."""
        generation = number = -1
        while (trial := self._one(query, generation=generation, number=number, **values)) is not None:
            yield trial
            generation, number = trial.generation, trial.number

    def _remembered(self, row: sa.Row[Any]) -> Trial:
        """A transaction sees no writes of others, so a trial that was read once stays valid."""
        number: int = row[0]
        if number not in self._known:
            self._known[number] = trial_of_row(row)
        return self._known[number]


def _by_number(trials_: tuple[Trial, ...]) -> tuple[Trial, ...]:
    return tuple(sorted(trials_, key=lambda trial: trial.number))
