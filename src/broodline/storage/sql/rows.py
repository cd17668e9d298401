"""Values to the columns of rows, and rows back to values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from broodline.core.population import Progress, StudyState
from broodline.core.trial import Change, Measurement, PeerScore, Trial, TrialState

FIELDS: tuple[str, ...] = Trial.__slots__
_LARGEST = 2**63 - 1  # of a column
_JSON = ("params", "changes", "metrics", "fitness")


class UnreadableRow(Exception):
    """Raised when a row holds values that broodline never writes: the database is corrupt."""


_NONE = type(None)
_TYPES_OF: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int, _NONE),
    "float": (float, int),
    "float | None": (float, int, _NONE),
    "str": (str,),
    "str | None": (str, _NONE),
    "bool": (bool,),
    "TrialState": (TrialState,),
    "StudyState": (str,),
    "Mapping[str, Any]": (dict,),
    "Mapping[str, Change]": (dict,),
    "Mapping[str, Any] | None": (dict, _NONE),
    "tuple[float, ...] | None": (tuple, _NONE),
}


class _Types:
    """The types of a record's fields: SQLite stores any value in any column, so a corrupt one may have another type.

    Args:
        kind: The dataclass of the record.
    """

    def __init__(self, kind: type) -> None:
        self._allowed = [(field.name, _TYPES_OF[str(field.type)]) for field in fields(kind)]
        self._correct: set[tuple[type, ...]] = set()  # a few combinations, looked up at once: rows are read many times a trial

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuses values, in the order of the fields, of which one has another type.

        Raises:
            TypeError: The message names it.
        """
        types = tuple(map(type, values.values()))
        if types not in self._correct:
            for name, allowed in self._allowed:
                if type(values[name]) not in allowed:
                    raise TypeError(f"{name} is {values[name]!r:.40}")
            self._correct.add(types)


_TRIAL_TYPES, _PROGRESS_TYPES, _MEASUREMENT_TYPES = _Types(Trial), _Types(Progress), _Types(Measurement)

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
        _TRIAL_TYPES.check(values)
        if values["fitness"] is not None and not all(type(value) in (float, int) for value in values["fitness"]):
            raise TypeError(f"fitness is {row[FIELDS.index('fitness')]!r:.40}")
        return Trial(**values)
    except _UNREADABLE as error:
        raise UnreadableRow(f"the row of trial {row[0]}: {error}") from error


def row_of_progress(progress: Progress) -> dict[str, Any]:
    """The columns of a study that change while it runs."""
    row = {name: getattr(progress, name) for name in Progress.__slots__}
    # Steps as large as nanoseconds, summed over a study, outgrow the column; a sum that large is used for nothing.
    return row | {"state": progress.state.value, "steps": min(progress.steps, _LARGEST)}


def progress_of_row(row: Mapping[str, Any]) -> Progress:
    """The progress in the row of a study.

    Raises:
        UnreadableRow: A column holds a value that no progress has.
    """
    try:
        values = {name: row[name] for name in Progress.__slots__}
        _PROGRESS_TYPES.check(values)
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
        values = {"step": step, "metrics": json.loads(metrics)}
        _MEASUREMENT_TYPES.check(values)
        return Measurement(**values)
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
