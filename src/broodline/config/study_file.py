"""Study files: TOML in; the study, its programs and its engine options out."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broodline.config.fields import DURATION, FLAG, ConfigTable, InvalidValue, Rule, integer, list_of, one_of, string
from broodline.config.programs import (
    LATER_PLACEHOLDERS,
    PLACEHOLDERS,
    EngineOptions,
    Evaluate,
    Train,
    check_pairs,
    check_placeholders,
)
from broodline.config.shell_words import shell_problem
from broodline.config.study import ENGINE_LIMITS, KEYS, TRAIN_LIMITS, parse
from broodline.core.study import StudyConfig
from broodline.errors import StudyFileError
from broodline.registry import ENGINES

_PROGRAMS = ("train", "evaluate", "checkpoints", "engine")


def _device(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InvalidValue("a device")
    return str(value)


_DEVICES = 'a list of devices, such as ["0", "1"], or "none"'
_LIST_OF_DEVICES = list_of(Rule("a device", _device), _DEVICES)


def _devices(value: Any) -> tuple[str, ...]:
    names: tuple[str, ...] = () if value == "none" else _LIST_OF_DEVICES.read(value)
    return names


_NAMED_METRICS = one_of("file", "stdout", "name=value")
_METRICS = f'{_NAMED_METRICS.expected}, or a regular expression for each metric, such as {{ val_acc = "val_acc: (\\\\S+)" }}'


def _metrics(value: Any) -> str | Mapping[str, str]:
    if not isinstance(value, Mapping):
        try:
            named: str = _NAMED_METRICS.read(value)
        except InvalidValue:
            raise InvalidValue(_METRICS) from None
        return named
    for name, pattern in value.items():
        _check_pattern(name, pattern)
    if not value:
        raise InvalidValue(_METRICS)
    return dict(value)


def _check_pattern(name: str, pattern: Any) -> None:
    try:
        groups = re.compile(pattern).groups
    # A pattern can also be nested too deep for the parser, or repeat more often than C counts.
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        raise InvalidValue(f"a valid regular expression for each metric; that of '{name}' is not one ({error})") from None
    if groups > 1:
        raise InvalidValue(f"a regular expression with one group, the value; that of '{name}' has {groups} (write `(?:...)`)")


def _engine(value: Any) -> str:
    if not isinstance(value, str) or not ENGINES.has(value):
        raise InvalidValue(f"an installed engine: {', '.join(ENGINES.names())}")
    return value


_COMMAND = list_of(
    string("an argument", r"(?s:.*)"), 'a list of arguments, such as ["python", "train.py"]: no shell reads it', at_least=1
)
_TRAIN: Mapping[str, Rule] = {
    "command": _COMMAND,
    "resident": FLAG,
    "metrics": Rule(_METRICS, _metrics),
    "timeout": DURATION,
    "grace": DURATION,
}
_EVALUATE: Mapping[str, Rule] = {"command": _COMMAND, "timeout": DURATION}
_ENGINE: Mapping[str, Rule] = {
    "kind": Rule("an installed engine", _engine),
    "devices": Rule(_DEVICES, _devices),
    "threads": integer(1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFile:
    """The content of a study file.

    Args:
        study: The part that the store keeps.
        train: The training program; None if the file has no [train].
        evaluate: The evaluation program; None if the file has no [evaluate].
        engine: Where and how workers run.
        path: The file.
    """

    study: StudyConfig
    train: Train | None
    evaluate: Evaluate | None
    engine: EngineOptions
    path: Path

    @property
    def folder(self) -> Path:
        """The folder of the file: the working directory of its programs, and the default location of its store."""
        return self.path.absolute().parent


def read(path: Path) -> StudyFile:
    """Reads a study file.

    Raises:
        StudyFileError: The first error in the file, or the reason why it can't be read.
    """
    return _read_document(_document(path, str(path)), path)


def read_programs(path: Path, study: Path) -> StudyFile:
    """Reads a study file whose programs come from another file.

    Args:
        path: The other file: its [train] and, if present, [evaluate], [checkpoints] and [engine] are used. Its other tables
            are ignored, so it may be a study file itself.
        study: The study file.

    Raises:
        StudyFileError: The first error in either file.
    """
    other = _document(path, str(path))
    ConfigTable(other, str(path)).check_names(KEYS)
    if "train" not in other:
        raise StudyFileError(str(path), "train", 'is missing; it must be a TOML table, such as command = ["python", "final.py"]')
    # An [evaluate] of the study file must not measure the checkpoints of the other program.
    kept = {name: value for name, value in _document(study, str(study)).items() if name not in ("train", "evaluate")}
    return _read_document(kept | {name: other[name] for name in _PROGRAMS if name in other}, path)


def _read_document(document: Mapping[str, Any], path: Path) -> StudyFile:
    source = str(path)
    table = ConfigTable(document, source)
    table.check_names(KEYS)
    study = parse(table.values, source)
    return StudyFile(
        study=study,
        train=_train(table, study) if "train" in table.values else None,
        evaluate=_evaluate(table, study) if "evaluate" in table.values else None,
        engine=EngineOptions(**_read(table.table("engine"), _ENGINE, ENGINE_LIMITS)),
        path=path,
    )


def _document(path: Path, source: str) -> dict[str, Any]:
    try:
        # Editors on Windows begin a file with a byte order mark, which TOML does not allow.
        content = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise StudyFileError(source, "", _missing(path)) from None
    except OSError as error:
        raise StudyFileError(source, "", f"can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        before = error.object[: error.start].count(b"\n")
        raise StudyFileError(source, f"line {before + 1}", "is not encoded in UTF-8") from None
    try:
        return tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(source, content, str(error)) from None


def _missing(path: Path) -> str:
    """The problem of a file that does not exist, with the files next to it that may be meant."""
    others = sorted(other.name for other in path.parent.glob("*.toml"))[:5]
    return "no such file" + (f"\nhelp: the same directory has {', '.join(others)}" if others else "")


def _syntax_error(source: str, content: str, message: str) -> StudyFileError:
    lines = content.splitlines() or [""]
    place = re.search(r" \(at line (\d+), column \d+\)$| \(at end of document\)$", message)
    number = int(place[1]) if place and place[1] else len(lines)
    problem = message[: place.start()] if place else message
    twice = re.search("overwrite|mutate|twice|[Dd]uplicate", problem)
    hint = "the name is defined twice" if twice else "a study file is TOML (https://toml.io)"
    line = lines[min(number, len(lines)) - 1].strip()
    return StudyFileError(source, f"line {number}", f"{problem}: `{line}`; {hint}")


def _train(table: ConfigTable, study: StudyConfig) -> Train:
    inner = table.table("train")
    objective = tuple(goal.metric for goal in study.objective.goals)
    train = Train(**_program(inner, study, _TRAIN, TRAIN_LIMITS, missing="restore"), objective=objective)
    if train.resident and "metrics" in inner.values:
        raise inner.error("metrics", "must not be set for a resident program: its answers contain the metrics")
    if train.resident and check_placeholders(train.command, ("python",)):
        raise inner.error(
            "command",
            "must have no placeholder but {python}: a resident program starts before its first trial (write braces as {{ and }})",
        )
    if isinstance(train.metrics, Mapping) and (unread := [name for name in objective if name not in train.metrics]):
        raise inner.error("metrics", f"has no regular expression for '{unread[0]}', a metric of the objective")
    return train


def _evaluate(table: ConfigTable, study: StudyConfig) -> Evaluate:
    return Evaluate(**_program(table.table("evaluate"), study, _EVALUATE, {}, missing="save"))


def _program(
    table: ConfigTable, study: StudyConfig, rules: Mapping[str, Rule], others: Mapping[str, Rule], *, missing: str
) -> dict[str, Any]:
    """The values of a program's table; the placeholder `missing` has no value in some of its runs."""
    values = _read(table, rules, others)
    command, params = table.value("command", _COMMAND), study.space.params
    if not command[0]:
        raise table.error("command", "must start with a program, got an empty string")
    problems = check_placeholders(command, (*params, *PLACEHOLDERS, *LATER_PLACEHOLDERS))
    if problems := problems or check_pairs(command, (missing, *(name for name, param in params.items() if param.when))):
        raise table.error("command", problems[0])
    if problem := shell_problem(command, Path(table.source).absolute().parent):
        raise table.error("command", problem)
    return values


def _read(table: ConfigTable, rules: Mapping[str, Rule], others: Mapping[str, Rule]) -> dict[str, Any]:
    """The values of those keys of a table that `parse` has not read; `others` are the keys that it has."""
    table.check_names((*rules, *others))
    return table.present(rules)
