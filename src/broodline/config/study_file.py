"""Study files: TOML in, a study and what its workers run out; every mistake with file, key and what is allowed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from broodline.config.fields import ConfigTable, InvalidValue, Rule, duration, flag, integer, list_of, nearest, one_of, text
from broodline.config.programs import PLACEHOLDERS, EngineOptions, Evaluate, Train, check_placeholders
from broodline.config.study import ENGINE_LIMITS, KEYS, TRAIN_LIMITS, parse
from broodline.core.study import StudyConfig
from broodline.errors import StudyFileError

STRATEGIES = ("initiator", "generational", "none", "alone", "optuna", "grid")


_PROGRAMS = ("train", "evaluate", "checkpoints", "engine")


def _device(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InvalidValue("a device")
    return str(value)


_COMMAND = list_of(
    text("an argument", r"(?s:.*)"), 'a list of arguments, such as ["python", "train.py"]: no shell reads it', at_least=1
)
_TRAIN: Mapping[str, Rule] = {
    "command": _COMMAND,
    "resident": flag,
    "metrics": one_of("file", "stdout"),
    "timeout": duration,
    "grace": duration,
}
_EVALUATE: Mapping[str, Rule] = {"command": _COMMAND, "timeout": duration}
_ENGINE: Mapping[str, Rule] = {
    "devices": list_of(_device, 'a list of devices, such as ["0", "1"]'),
    "threads": integer(1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFile:
    """What a study file says.

    Args:
        study: What the store keeps of it.
        train: The program that trains; None if the file has no [train].
        evaluate: The program that measures, if there is one.
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
        """The folder of the file: where its programs run, and beside which its store lies."""
        return self.path.absolute().parent


def read(path: Path) -> StudyFile:
    """Reads a study file.

    Raises:
        StudyFileError: The first mistake in it, or why it can't be read.
    """
    return _read_document(_document(path, str(path)), path)


def read_programs(path: Path, study: Path) -> StudyFile:
    """Reads a study file whose programs, and what goes with them, come from another file.

    Args:
        path: The other file: [train] and, if there are any, [evaluate], [checkpoints] and [engine]. Its other tables are
            not looked at, so it may be a study file itself.
        study: The study file.

    Raises:
        StudyFileError: The first mistake in them.
    """
    other = _document(path, str(path))
    ConfigTable(other, str(path)).check_names(KEYS)
    if "train" not in other:
        raise StudyFileError(str(path), "train", 'is missing; it must be a table, such as command = ["python", "final.py"]')
    kept = {name: value for name, value in _document(study, str(study)).items() if name not in ("train", "evaluate")}
    return _read_document(kept | {name: other[name] for name in _PROGRAMS if name in other}, path)


def _read_document(document: Mapping[str, Any], path: Path) -> StudyFile:
    source = str(path)
    table = ConfigTable(document, source)
    table.check_names(KEYS)
    study = parse(table.values, source)
    check_strategy(study, source)
    return StudyFile(
        study=study,
        train=_train(table, study) if "train" in table.values else None,
        evaluate=_evaluate(table, study) if "evaluate" in table.values else None,
        engine=EngineOptions(**_read(table.table("engine"), _ENGINE, ENGINE_LIMITS)),
        path=path,
    )


def check_strategy(study: StudyConfig, source: str) -> None:
    """Refuses a strategy that neither broodline nor another installed package has.

    Raises:
        StudyFileError: It is unknown.
    """
    name = study.evolution.strategy
    if name in STRATEGIES:  # looked at first: reading the entry points of a large environment takes long
        return
    known = sorted({*STRATEGIES, *(point.name for point in entry_points(group="broodline.strategies"))})
    if name not in known:
        raise StudyFileError(
            source, "evolution.strategy", f"there is no strategy '{name}'{nearest(name, known)}; known: {', '.join(known)}"
        )


def _document(path: Path, source: str) -> dict[str, Any]:
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise StudyFileError(source, "", "there is no such file") from None
    except OSError as error:
        raise StudyFileError(source, "", f"can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        before = error.object[: error.start].count(b"\n")
        raise StudyFileError(source, f"line {before + 1}", "is not UTF-8 text") from None
    try:
        return tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(source, content, str(error)) from None


def _syntax_error(source: str, content: str, message: str) -> StudyFileError:
    lines = content.splitlines() or [""]
    place = re.search(r" \(at line (\d+), column \d+\)$| \(at end of document\)$", message)
    number = int(place[1]) if place and place[1] else len(lines)
    told = message[: place.start()] if place else message
    twice = re.search("overwrite|mutate|twice|[Dd]uplicate", told)
    hint = "it is defined twice; a name is defined once" if twice else "a study file is TOML (https://toml.io)"
    describe = lines[min(number, len(lines)) - 1].strip()
    return StudyFileError(source, f"line {number}", f"{told}: `{describe}`; {hint}")


def _train(table: ConfigTable, study: StudyConfig) -> Train:
    inner = table.table("train")
    train = Train(**_program(inner, study, _TRAIN, TRAIN_LIMITS))
    if train.resident and "metrics" in inner.values:
        raise inner.error("metrics", "is not for a resident program: it answers with its metrics")
    if train.resident and check_placeholders(train.command, ()):
        raise inner.error(
            "command", "a resident program is started before there is a trial, so nothing can be filled in ({{ and }} are braces)"
        )
    return train


def _evaluate(table: ConfigTable, study: StudyConfig) -> Evaluate:
    return Evaluate(**_program(table.table("evaluate"), study, _EVALUATE, {}))


def _program(table: ConfigTable, study: StudyConfig, rules: Mapping[str, Rule], others: Mapping[str, Rule]) -> dict[str, Any]:
    values = _read(table, rules, others)
    command = table.value("command", _COMMAND)
    if not command[0]:
        raise table.error("command", "its first argument, the program, is empty")
    if problems := check_placeholders(command, (*study.space.params, *PLACEHOLDERS)):
        raise table.error("command", problems[0])
    return values


def _read(table: ConfigTable, rules: Mapping[str, Rule], others: Mapping[str, Rule]) -> dict[str, Any]:
    """The values of a table that has other known keys too, which `parse` has read."""
    table.check_names((*rules, *others))
    return table.present(rules)
