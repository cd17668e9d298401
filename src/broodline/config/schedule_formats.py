"""Schedules as JSON, TOML or CSV. A round trip keeps every value and its type, and floats to the last bit.

In JSON and TOML a schedule is its `document()`, with the study and the trial that it comes from. In CSV each segment is a row
with the columns `start`, `steps` and one per hyperparameter. A cell holds a plain string as it is. Any other value, and a string
that reads as another value, is JSON. An empty cell is a hyperparameter that does not exist in that segment. A row is always one
line, so that a shell can read it.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, NoReturn

from broodline.config.fields import ConfigTable, InvalidValue, Rule, describe, integer, list_of, string
from broodline.config.programs import PLACEHOLDERS
from broodline.config.space import check_identifier
from broodline.core.parameters import Fixed
from broodline.core.schedule import Schedule, Segment
from broodline.errors import DocumentError, ScheduleError, SpaceError, UsageError

_POSITION = ("start", "steps")  # no hyperparameter has such a name: they are placeholders of a command


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidValue("a table")
    return value


_TABLE = Rule("a table", _mapping)
_SEGMENTS = list_of(_TABLE, "a list of segments, each with `start` and `params`, the first of them at step 0", at_least=1)
_ORIGIN: Mapping[str, Rule] = {"study": string("the name of a study"), "trial": integer(0)}


def write(schedule: Schedule, notation: str, origin: Mapping[str, Any] | None = None) -> str:
    """Formats a schedule.

    Args:
        schedule: The schedule.
        notation: One of `NOTATIONS`.
        origin: The `study` and the `trial` that it comes from; CSV leaves them out.

    Raises:
        UsageError: The notation can't express a value.
    """
    return _WRITERS[_known(notation)]({**(origin or {}), **schedule.document()})


def read(content: str, notation: str, source: str) -> Schedule:
    """Parses a schedule.

    Args:
        content: The content of a file; it need not be trusted.
        notation: One of `NOTATIONS`.
        source: The file, for messages.

    Raises:
        ScheduleError: It is not a valid schedule.
    """
    reader = _READERS[_known(notation)]
    try:
        document = reader(content)
    except DocumentError:
        raise
    except RecursionError:
        raise ScheduleError(source, "", "must be a schedule, got a document that is nested too deeply") from None
    except (ValueError, csv.Error) as error:
        raise ScheduleError(source, "", f"must be a schedule in {notation.upper()}: {error}") from None
    return from_document(document, source)


def from_document(document: Any, source: str) -> Schedule:
    """The schedule of a document, the inverse of `Schedule.document`.

    Args:
        document: A JSON value; it need not be trusted.
        source: Its origin, for messages.

    Raises:
        ScheduleError: It is not a valid schedule.
    """
    if not isinstance(document, Mapping):
        raise ScheduleError(source, "", f"must have `end` and `segments`, got {describe(document)}")
    table = ConfigTable(document, source, kind=ScheduleError)
    table.check_names((*_ORIGIN, "end", "segments"))
    table.present(_ORIGIN)
    found = table.value("segments", _SEGMENTS)
    tables = [ConfigTable(each, table.source, f"segments.{index}", table.kind) for index, each in enumerate(found)]
    segments = tuple(_segment(each) for each in tables)
    if segments[0].start != 0:
        raise tables[0].error("start", f"must be 0, where a schedule starts, got {segments[0].start}")
    for (before, segment), at in zip(pairwise(segments), tables[1:], strict=True):
        if segment.start <= before.start:
            raise at.error("start", f"must be above {before.start}, where the previous segment starts, got {segment.start}")
    end = table.value("end", integer(0))
    if end < segments[-1].start:
        raise table.error("end", f"must be at least {segments[-1].start}, where the last segment starts, got {end}")
    return Schedule(segments=segments, end=end)


def _segment(table: ConfigTable) -> Segment:
    table.check_names(("start", "params"))
    start = table.value("start", integer(0))
    table.value("params", _TABLE)
    params = table.table("params")
    return Segment(start=start, params={name: _value(params, name) for name in params.values})


def _value(params: ConfigTable, name: str) -> Any:
    check_identifier(params, name, "parameter", PLACEHOLDERS)
    try:
        return Fixed(params.values[name]).value
    except SpaceError:
        raise params.error(
            name, f"must be a string, a finite number or another JSON value, got {params.values[name]!r}"
        ) from None


def _known(notation: str) -> str:
    if notation not in NOTATIONS:
        raise UsageError(f"the notation of a schedule must be {' or '.join(NOTATIONS)}, got '{notation}'")
    return notation


def _to_json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def _from_json(content: str) -> Any:
    return json.loads(content, object_pairs_hook=_once, parse_constant=_no_number)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        # `json` keeps the last of two equal names in silence.
        if name in found:
            raise ValueError(f"'{name}' is defined twice")
        found[name] = value
    return found


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number in JSON")


def _to_toml(document: Mapping[str, Any]) -> str:
    lines = [f"{name} = {_toml(value)}" for name, value in document.items() if name != "segments"]
    for segment in document["segments"]:
        lines += ["", "[[segments]]", f"start = {segment['start']}", "[segments.params]"]
        lines += [f"{name} = {_toml(value)}" for name, value in segment["params"].items()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    match value:
        # First, since a boolean is an int in Python.
        case bool():
            return str(value).lower()
        case str():
            return _quoted(value)
        case int() | float():
            return repr(value)
        case Mapping():
            return "{" + ", ".join(f"{_quoted(name)} = {_toml(each)}" for name, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            raise UsageError(f"TOML can't express {value!r}, a value of this schedule\nhelp: write it as json or csv")


def _quoted(value: str) -> str:
    """A JSON string, which is also a TOML string once DEL, the one character that TOML forbids, is escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _to_csv(document: Mapping[str, Any]) -> str:
    segments = document["segments"]
    names = list(dict.fromkeys(chain.from_iterable(segment["params"] for segment in segments)))
    starts = [*(segment["start"] for segment in segments), document["end"]]
    lines = io.StringIO()
    rows = csv.writer(lines, lineterminator="\n")
    rows.writerow([*_POSITION, *names])
    for segment, (start, end) in zip(segments, pairwise(starts), strict=True):
        rows.writerow([start, end - start, *(_cell(segment["params"], name) for name in names)])
    return lines.getvalue()


def _cell(params: Mapping[str, Any], name: str) -> str:
    if name not in params:
        return ""
    value = params[name]
    # A string that reads as itself needs no quotes; all other values are written as JSON, so that `_cell_value` restores them.
    plain = isinstance(value, str) and value.isprintable() and value != "" and _cell_value(value) == value
    return value if plain else json.dumps(value, allow_nan=False)


def _cell_value(cell: str) -> Any:
    try:
        return _from_json(cell)
    except (ValueError, RecursionError):
        return cell


def _from_csv(content: str) -> Any:
    rows = list(csv.reader(io.StringIO(content, newline=""), strict=True))
    header, *rows = [row for row in rows if row] or [[]]
    names = header[len(_POSITION) :]
    if tuple(header[: len(_POSITION)]) != _POSITION or len(set(header)) < len(header):
        raise ValueError("its first line must be start,steps and the names of the hyperparameters, each once")
    segments, at = [], 0
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} values, but the first line has {len(header)} names")
        start, steps = (_steps(cell, number) for cell in row[: len(_POSITION)])
        # A gap would leave steps without hyperparameters, and an overlap would give a step two values.
        if start != at:
            raise ValueError(f"row {number} must start at step {at}, where the previous row ends, got {start}")
        at = start + steps
        cells = zip(names, row[len(_POSITION) :], strict=True)
        segments.append({"start": start, "params": {name: _cell_value(cell) for name, cell in cells if cell != ""}})
    return {"end": at, "segments": segments}


def _steps(cell: str, number: int) -> int:
    if not re.fullmatch(r"[0-9]{1,16}", cell):
        raise ValueError(f"row {number}: a number of steps must be an integer, got {cell!r}")
    return int(cell)


_WRITERS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"json": _to_json, "toml": _to_toml, "csv": _to_csv}
_READERS: Mapping[str, Callable[[str], Any]] = {"json": _from_json, "toml": tomllib.loads, "csv": _from_csv}
NOTATIONS = tuple(_WRITERS)
