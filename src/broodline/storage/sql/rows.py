"""Values to the columns of rows, and rows back to values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from broodline.core.population import Progress, StudyState
from broodline.core.trial import Change, Measurement, PeerScore, Trial, TrialState

FIELDS: tuple[str, ...] = Trial.__slots__
_JSON = ("params", "changes", "metrics", "fitness")


class UnreadableRow(Exception):
    """Raised when a row holds values that broodline never writes: the database is corrupt."""


# The errors of values that can't be converted.
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)


def row_of_trial(trial: Trial, since: Trial | None = None) -> dict[str, Any]:
    """The columns of a trial, without its study; only the changed ones, if an earlier version of it is given."""
    row: dict[str, Any] = {name: getattr(trial, name) for name in FIELDS}
    if since is not None:
        row = {name: value for name, value in row.items() if value != getattr(since, name)}
    if "fitness" in row:
        row["score"] = trial.fitness[0] if trial.fitness else None
    if "state" in row:
        row["state"] = trial.state.value
    row.update((name, json.dumps(row[name])) for name in _JSON if row.get(name) is not None)
    return row


def trial_of_row(row: Sequence[Any]) -> Trial:
    """The trial in a row of the columns named in FIELDS, in that order.

    Raises:
        UnreadableRow: A column holds a value that no trial has.
    """
    try:
        values = dict(zip(FIELDS, row, strict=True))
        values["state"] = TrialState(values["state"])
        values["params"] = json.loads(values["params"])
        values["changes"] = {name: Change(change) for name, change in json.loads(values["changes"]).items()}
        values["metrics"] = None if values["metrics"] is None else json.loads(values["metrics"])
        values["fitness"] = None if values["fitness"] is None else tuple(json.loads(values["fitness"]))
        values["kept"], values["extendable"] = bool(values["kept"]), bool(values["extendable"])
        return Trial(**values)
    except _UNREADABLE as error:
        raise UnreadableRow(f"the row of trial {row[0]}: {error}") from error


def row_of_progress(progress: Progress) -> dict[str, Any]:
    """The columns of a study that change while it runs."""
    return {name: getattr(progress, name) for name in Progress.__slots__} | {"state": progress.state.value}


def progress_of_row(row: Mapping[str, Any]) -> Progress:
    """The progress in the row of a study.

    Raises:
        UnreadableRow: A column holds a value that no progress has.
    """
    try:
        values = {name: row[name] for name in Progress.__slots__}
        return Progress(**{**values, "state": StudyState(values["state"])})
    except _UNREADABLE as error:
        raise UnreadableRow(f"the row of a study: {error}") from error


def rows_of_measurements(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """The columns of each measurement, without its trial."""
    return [{"step": m.step, "metrics": json.dumps(dict(m.metrics))} for m in measurements]


def measurement_of_row(step: int, metrics: str) -> Measurement:
    """The measurement in these columns.

    Raises:
        UnreadableRow: The metrics are not JSON.
    """
    try:
        return Measurement(step=step, metrics=json.loads(metrics))
    except _UNREADABLE as error:
        raise UnreadableRow(f"the measurement at step {step}: {error}") from error


def peer_score_of_row(row: Sequence[Any]) -> PeerScore:
    """The score of a peer in a row of trial, state, score and last measured step.

    Raises:
        UnreadableRow: The state is unknown.
    """
    number, state, score, measured = row
    try:
        return PeerScore(trial=number, state=TrialState(state), score=score, measured=measured)
    except _UNREADABLE as error:
        raise UnreadableRow(f"the row of trial {number}: {error}") from error
