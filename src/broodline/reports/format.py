"""Numbers, params and trials as strings for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from broodline.core.parameters import Fixed
from broodline.core.study import StudyConfig
from broodline.core.text import printable
from broodline.core.trial import Change, Trial

_UNITS = ("kB", "MB", "GB", "TB", "PB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def format_value(value: Any, digits: int = 4) -> str:
    """A JSON value; floats are rounded to so many significant digits.

    >>> format_value(0.0123456), format_value("adam"), format_value(None)
    ('0.01235', 'adam', 'null')
    """
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return printable(value) if isinstance(value, str) else json.dumps(value)


def format_duration(seconds: float) -> str:
    """A duration, in two units at most.

    >>> format_duration(3.21), format_duration(75), format_duration(5400), format_duration(200000)
    ('3.2s', '1m 15s', '1h 30m', '2d 07h')
    """
    if seconds < 10:
        return f"{max(0.0, seconds):.1f}s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02d}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02d}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR:02d}h"


def format_size(count: int) -> str:
    """A number of bytes, in powers of 1000.

    >>> format_size(999), format_size(1500), format_size(999_700), format_size(12_345_678_901)
    ('999 B', '1.5 kB', '1 MB', '12 GB')
    """
    if count < 1000:
        return f"{count} B"
    # 999,500 is the first count that is not less than 1 MB when it is rounded: "1000 kB" would be of no use.
    sizes = ((count / 1000**power, unit) for power, unit in reversed([*enumerate(_UNITS, 1)]) if count >= 0.9995 * 1000**power)
    number, unit = next(sizes)
    return f"{number:.1f} {unit}" if number < 9.95 and round(number, 1) % 1 else f"{number:.0f} {unit}"


def format_count(count: int, noun: str) -> str:
    """A number of things.

    >>> format_count(1, "trial"), format_count(1200, "trial")
    ('1 trial', '1,200 trials')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def format_params(params: Mapping[str, Any]) -> str:
    """Params on one line.

    >>> format_params({"lr": 0.0123456, "batch_size": 64})
    'lr 0.01235, batch_size 64'
    """
    return ", ".join(f"{printable(name)} {format_value(value)}" for name, value in params.items())


def format_searched(study: StudyConfig, params: Mapping[str, Any]) -> str:
    """Params on one line, without those that the study fixes: these have the same value in every trial."""
    space = study.space.params
    return format_params({name: value for name, value in params.items() if not isinstance(space.get(name), Fixed)})


def format_score(study: StudyConfig, trial: Trial) -> str:
    """The fitness of a trial in the user's own metrics; empty for a trial without fitness."""
    if trial.fitness is None:
        return ""
    goals = study.objective.goals
    if study.objective.weighted:
        parts = format_params({goal.metric: trial.metrics[goal.metric] for goal in goals} if trial.metrics else {})
        return format_value(trial.fitness[0], 5) + (f" ({parts})" if parts else "")
    values = zip(goals, trial.fitness, strict=True)
    return ", ".join(f"{goal.metric} {format_value(value / goal.contribution(1.0), 5)}" for goal, value in values)


def format_changes(trial: Trial, parent: Trial) -> str:
    """The params of a child that differ from its parent's, and how each one changed."""
    changed = [name for name, change in trial.changes.items() if change is not Change.KEPT and name in trial.params]
    return ", ".join(f"{name} {trial.changes[name]} {_from(parent, name)}{format_value(trial.params[name])}" for name in changed)


def format_outcome(trial: Trial) -> str:
    """The end of a trial that failed or was stopped, on one line.

    Only the first line of the reason is shown; the rest of it is detail.
    """
    return f"trial {trial.number} {trial.state}: {printable(trial.reason or 'no reason given').splitlines()[0]}"


def _from(parent: Trial, name: str) -> str:
    return f"{format_value(parent.params[name])} → " if name in parent.params else ""
