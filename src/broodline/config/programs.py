"""The programs of a study: their commands, and the placeholders in them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from broodline.config.fields import nearest

PLACEHOLDERS = ("restore", "save", "steps", "start", "trial", "seed", "params")
LATER_PLACEHOLDERS = ("end", "python")
"""Placeholders that a parameter may be named like, because studies that were made before them may have such a parameter."""

# `${...}` comes first, so that shell variables are left alone.
_PATTERN = re.compile(r"\$\{[^{}]*\}|\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """The program that trains.

    Args:
        command: Its arguments, the program first; run without a shell, in the study file's folder.
        resident: Started once per worker instead of once per trial.
        metrics: Where it writes its metrics: "file", "stdout", "name=value", or a regular expression for each metric that it
            prints.
        objective: The metrics of the objective: of the lines that it prints, those that have one of them count.
        timeout: Seconds after which a trial has failed; None: never.
        grace: Seconds between SIGTERM and SIGKILL.
    """

    command: tuple[str, ...]
    resident: bool = False
    metrics: str | Mapping[str, str] = "file"
    objective: tuple[str, ...] = ()
    timeout: float | None = None
    grace: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """The program that evaluates a checkpoint after training; `command` and `timeout` are those of `Train`."""

    command: tuple[str, ...]
    timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Where and how workers run.

    Args:
        kind: The name of an installed engine, which starts the workers.
        devices: Distributed over the workers; None: all that are visible; empty: none.
        threads: Threads of numeric libraries per worker.
    """

    kind: str = "local"
    devices: tuple[str, ...] | None = None
    threads: int = 1


def fill(command: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """The arguments of one trial: each placeholder replaced by its value.

    Args:
        command: The command of the study file, checked by `check_placeholders`.
        values: The values by name. An argument with a placeholder whose value is missing or None is left out.

    >>> fill(["train", "--lr={lr}", "--resume={restore}", "{{${HOME}}}"], {"lr": 0.1, "restore": None})
    ['train', '--lr=0.1', '{${HOME}}']
    """
    return [_filled(argument, values) for argument in command if all(values.get(name) is not None for name in _names(argument))]


def check_placeholders(command: Sequence[str], names: Collection[str]) -> list[str]:
    """The problems of the placeholders of a command, one line each.

    Args:
        command: The command of the study file.
        names: The known placeholders.
    """
    return [problem for argument in command for problem in _problems(argument, names)]


def check_pairs(command: Sequence[str], missing: Collection[str]) -> list[str]:
    """The problems of options whose value is the next argument, one line each: the option would stay where the value is left out.

    Args:
        command: The command of the study file.
        missing: The placeholders that have no value in some trials.

    >>> check_pairs(["train", "--resume", "{restore}"], ["restore"])[0].partition(";")[0]
    "'--resume', '{restore}' are two arguments, and only the second is left out where {restore} has no value"
    """
    return [
        f"'{option}', '{value}' are two arguments, and only the second is left out where {{{name}}} has no value; "
        f"write one argument, '{option}={value}', or put '{value}' before the options if it belongs to none"
        for option, value in pairwise(command)
        if re.match(r"-{1,2}\w", option) and "=" not in option and not _names(option)
        for name in _names(value)[:1]
        if name in missing
    ]


def spelled(value: Any) -> str:
    """A JSON value as an argument: strings as they are, numbers so that parsing them gives the same number."""
    return value if isinstance(value, str) else json.dumps(value)


def _names(argument: str) -> list[str]:
    return [match[1] for match in _PATTERN.finditer(argument) if match[1] is not None]


def _filled(argument: str, values: Mapping[str, Any]) -> str:
    def replacement(match: re.Match[str]) -> str:
        if match[1] is not None:
            return spelled(values[match[1]])
        return match[0][0] if match[0] in ("{{", "}}") else match[0]

    return _PATTERN.sub(replacement, argument)


def _problems(argument: str, names: Collection[str]) -> list[str]:
    found = []
    for match in _PATTERN.finditer(argument):
        if match[0] in ("{", "}"):
            found.append(f"'{argument}' has an unmatched '{match[0]}'; write a brace as {match[0] * 2}")
        elif match[1] is not None and match[1] not in names:
            found.append(
                f"'{argument}' has the unknown placeholder {match[0]}{nearest(match[1], names)}; "
                f"known: {', '.join(names) or 'none'}; write a brace as {{{{ or }}}}"
            )
    return found
