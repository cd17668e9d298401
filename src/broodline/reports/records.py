"""Trials as JSON values, for scripts: the same fields in every command."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from broodline.core.text import spelled_surrogates
from broodline.core.trial import Measurement, Trial
from broodline.storage.study_files import StudyFiles

_PLACE = ("number", "member", "generation", "state")
_ORIGIN = ("parent", "initiator", "opponent", "params", "changes", "start", "steps")


def record(trial: Trial, files: StudyFiles) -> dict[str, Any]:
    """A trial as a JSON value; a field without a value is null.

    Args:
        trial: The trial.
        files: The files of its study: the record holds the absolute path of its checkpoint.
    """
    return {
        **{name: getattr(trial, name) for name in (*_PLACE, *_ORIGIN)},
        "metrics": trial.metrics,
        "fitness": fitness(trial),
        "checkpoint": None if trial.checkpoint is None else str(files.path(trial.checkpoint)),
        "worker": trial.worker,
        "attempt": trial.attempt,
        "reason": trial.reason,
        **{name: moment(getattr(trial, name)) for name in ("created", "started", "finished")},
    }


def measurement_record(measurement: Measurement) -> dict[str, Any]:
    """A measurement as a JSON value."""
    return {"step": measurement.step, **measurement.metrics}


def fitness(trial: Trial) -> float | list[float] | None:
    """The fitness of a trial: one number, or one number a goal if goals are compared by Pareto improvement."""
    if trial.fitness is None:
        return None
    return trial.fitness[0] if len(trial.fitness) == 1 else list(trial.fitness)


def moment(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601, UTC, with microseconds.

    >>> moment(0.25)
    '1970-01-01T00:00:00.250000Z'
    """
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except (OSError, OverflowError, ValueError):  # no calendar has such a year: of a clock, or a database, that is broken
        return None


def to_json(document: Any) -> str:
    """One line of JSON in valid Unicode; NaN and infinity (a diverged metric) are null, since JSON has no such numbers."""
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(document), ensure_ascii=False, allow_nan=False)
    return spelled_surrogates(text)


def _finite(document: Any) -> Any:
    if isinstance(document, dict):
        return {name: _finite(value) for name, value in document.items()}
    if isinstance(document, list | tuple):
        return [_finite(value) for value in document]
    return None if isinstance(document, float) and not math.isfinite(document) else document
