"""The statements of a transaction: one for each question, built once, and an index that answers it.

`tests/contract/test_cost.py` reads the query plan of each statement that a worker's calls lead to: none scans a study.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa

from broodline.storage.sql import schema
from broodline.storage.sql.rows import FIELDS
from broodline.storage.sql.schema import measurements, scores, studies, trials

_study = trials.c.study == sa.bindparam("of_study")
_trials = sa.select(*(trials.c[name] for name in FIELDS)).where(_study)
_worker = trials.c.worker == sa.bindparam("worker")
_member = trials.c.member == sa.bindparam("member")


def _by(index: str, query: sa.Select[Any]) -> sa.Select[Any]:
    """A query through this index. Without the hint SQLite may scan a study by its primary key, which slows down as it grows."""
    return query.with_hint(trials, f"INDEXED BY {index}", "sqlite")


def _among(column: sa.Column[Any], name: str) -> sa.ColumnElement[bool]:
    return column.in_(sa.bindparam(name, expanding=True))


def _numbered(*queries: sa.Select[Any]) -> sa.Select[Any]:
    """The trials that these queries find, of which each finds at most one."""
    numbers = [query.with_only_columns(trials.c.number).correlate(None).scalar_subquery() for query in queries]
    return _trials.where(trials.c.number.in_(numbers))


_initiators = _trials.where(schema.NOT_INITIATED)

FIND_STUDY = sa.select(studies).where(studies.c.name == sa.bindparam("name"))
TRIAL = _trials.where(trials.c.number == sa.bindparam("number"))
TRIALS_AFTER = _trials.where(trials.c.number > sa.bindparam("after")).order_by(trials.c.number)
OF_GENERATION = _trials.where(trials.c.generation == sa.bindparam("generation")).order_by(trials.c.member)
UNFINISHED = _by("unfinished_trials", _trials.where(schema.UNFINISHED).order_by(trials.c.number))
FIRST_PENDING = _by("pending_trials", _trials.where(schema.PENDING).order_by(trials.c.number).limit(1))
# The unfinished trials on which an answer depends: the worker's own, those whose lease has expired, and the first pending one.
AT_HAND = sa.union_all(
    _by("held_trials", _trials.where(schema.RUNNING, _worker)),
    _by("leases", _trials.where(schema.RUNNING, trials.c.lease_until < sa.bindparam("until"))),
    _numbered(FIRST_PENDING),
)
RUNNING_IN = _by("sessions", _trials.where(schema.RUNNING, _among(trials.c.session, "sessions")))
ANY_RUNNING = _by("leases", sa.select(sa.literal(1)).select_from(trials).where(_study, schema.RUNNING).limit(1))
# The first of the lowest generation, and the worker's own last.
FIRST_INITIATORS = _numbered(
    _by("initiators", _initiators.order_by(trials.c.generation, trials.c.number).limit(1)),
    _by("initiators_by_worker", _initiators.where(_worker).order_by(trials.c.finished.desc(), trials.c.number).limit(1)),
)
LAST_MEMBER = sa.select(trials.c.member).where(_study, trials.c.generation == 0).order_by(trials.c.member.desc()).limit(1)
LEAVES = _by("initiators", _initiators.order_by(trials.c.generation, trials.c.number))
_open_leaves = _trials.where(
    schema.OPEN_LEAF,
    trials.c.generation < sa.bindparam("before"),
    # The comparison of pairs is one range of the index: each next leaf is found without a look at those before it.
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
        # Not `schema.UNFINISHED`, whose `state` would be that of the outer query.
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


@cache
def checkpoints_of(members: int) -> sa.Select[Any]:
    """The checkpoints of so many members, `member_0` and so on. Its text is fixed, so it is prepared as all others are."""
    return CHECKPOINTS.where(trials.c.member.in_([sa.bindparam(f"member_{index}") for index in range(members)]))


ANY_SWEEPABLE = _by(
    "sweepable_checkpoints", sa.select(sa.literal(1)).select_from(trials).where(_study, schema.SWEEPABLE).limit(1)
)
ANY_KEPT = (
    sa.select(trials.c.number).where(_study, trials.c.checkpoint.is_not(None), trials.c.kept).order_by(trials.c.number).limit(1)
)
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
NOT_MEASURED = UPDATE_TRIAL.values(measured=None)
NOTE_MEASURED = UPDATE_TRIAL.where(
    sa.or_(trials.c.measured.is_(None), trials.c.measured < sa.bindparam("earliest", type_=sa.BigInteger))
).values(measured=sa.bindparam("latest"))
