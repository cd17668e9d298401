"""Values of broodline as JSON documents, and back. The service and its client share it.

JSON has no NaN and no infinity, and a metric of a model that diverged is one. A document with such numbers holds null in their
places, and names the places under `special`::

    {"step": 9, "metrics": {"loss": null}, "special": [{"path": ["metrics", "loss"], "value": "nan"}]}
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from broodline.controller.client import Answer, Done, Start, Wait
from broodline.core.population import Progress, StudyState
from broodline.core.trial import Change, Checkpoint, Measurement, Trial, TrialState

Document = dict[str, Any]

SPECIAL = "special"
_VALUES: Mapping[str, float] = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_TRIAL_FIELDS = tuple(field.name for field in fields(Trial))


def to_json(document: Any) -> bytes:
    """A document as bytes of JSON."""
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()


def measurement_document(measurement: Measurement) -> Document:
    """A measurement as a document."""
    return with_special({"step": measurement.step, "metrics": measurement.metrics})


def measurement_from(document: Mapping[str, Any]) -> Measurement:
    """The measurement in a document."""
    values = without_special(document)
    return Measurement(step=values["step"], metrics=values["metrics"])


def trial_document(trial: Trial) -> Document:
    """A trial as a document."""
    return with_special({name: getattr(trial, name) for name in _TRIAL_FIELDS})


def trial_from(document: Mapping[str, Any]) -> Trial:
    """The trial in a document; fields of a newer version are left out."""
    values = without_special(document)
    known = {name: values[name] for name in _TRIAL_FIELDS if name in values}
    known["state"] = TrialState(known["state"])
    known["changes"] = {name: Change(change) for name, change in known["changes"].items()}
    known["fitness"] = None if known["fitness"] is None else tuple(known["fitness"])
    return Trial(**known)


def progress_document(progress: Progress) -> Document:
    """The progress of a study as a document."""
    return {field.name: getattr(progress, field.name) for field in fields(Progress)}


def progress_from(document: Mapping[str, Any]) -> Progress:
    """The progress in a document."""
    known = {field.name: document[field.name] for field in fields(Progress)}
    return Progress(**{**known, "state": StudyState(known["state"])})


def checkpoint_document(checkpoint: Checkpoint) -> Document:
    """A checkpoint as a document."""
    return {field.name: getattr(checkpoint, field.name) for field in fields(Checkpoint)}


def checkpoint_from(document: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint in a document."""
    return Checkpoint(**{field.name: document[field.name] for field in fields(Checkpoint)})


def answer_document(answer: Answer) -> Document:
    """The answer to an ask as a document."""
    match answer:
        case Start(trial=trial, restore=restore, delete=delete):
            return {"answer": "start", "trial": trial_document(trial), "restore": restore, "delete": delete}
        case Wait(delete=delete):
            return {"answer": "wait", "delete": delete}
        case Done(reason=reason, delete=delete):
            return {"answer": "done", "reason": reason, "delete": delete}


def answer_from(document: Mapping[str, Any]) -> Answer:
    """The answer in a document."""
    delete = tuple(document["delete"])
    if document["answer"] == "start":
        return Start(trial=trial_from(document["trial"]), restore=document["restore"], delete=delete)
    if document["answer"] == "done":
        return Done(reason=document["reason"], delete=delete)
    return Wait(delete=delete)


def with_special(document: Document) -> Document:
    """The document with null in the place of each number that JSON lacks, and the list of these places."""
    places = list(_special_in(document, ()))
    if not places:
        return document
    finite: Document = _copied(document)
    for path, _ in places:
        _container(finite, path)[path[-1]] = None
    return {**finite, SPECIAL: [{"path": list(path), "value": kind} for path, kind in places]}


def without_special(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inverse of `with_special`.

    Raises:
        ValueError: A place does not exist, or does not hold null.
    """
    places: Sequence[Any] = document.get(SPECIAL) or ()
    if not places:
        return document
    values = _copied({name: value for name, value in document.items() if name != SPECIAL})
    for place in places:
        path, kind = place["path"], place["value"]
        try:
            container = _container(values, path)
            if container[path[-1]] is not None:
                raise ValueError(f"special: {path} does not hold null")
            container[path[-1]] = _VALUES[kind]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"special: there is no {path}") from error
    found: Mapping[str, Any] = values
    return found


def _special_in(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, float):
        if not math.isfinite(value):
            yield path, "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    elif isinstance(value, Mapping):
        for name, each in value.items():
            if isinstance(each, float | Mapping | list | tuple):
                yield from _special_in(each, (*path, name))
    elif isinstance(value, list | tuple):
        for place, each in enumerate(value):
            if isinstance(each, float | Mapping | list | tuple):
                yield from _special_in(each, (*path, place))


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copied(each) for name, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list | tuple) else value


def _container(document: Any, path: Sequence[str | int]) -> Any:
    for step in path[:-1]:
        document = document[step]
    return document
