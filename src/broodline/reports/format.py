"""Numbers and trials in the words that people are shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from broodline.core.parameters import Fixed
from broodline.core.study import StudyConfig
from broodline.core.trial import Change, Trial

_UNITS = ("kB", "MB", "GB", "TB", "PB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def value(value: Any, digits: int = 4) -> str:
    """A JSON value, its floats to so many significant digits.

    >>> value(0.0123456), value("adam"), value(None)
    ('0.01235', 'adam', 'null')
    """
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return value if isinstance(value, str) else json.dumps(value)


def span(seconds: float) -> str:
    """A duration.

    >>> span(3.21), span(75), span(5400), span(200000)
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


def size(count: int) -> str:
    """So many bytes, in powers of 1000.

    >>> size(999), size(1500), size(50_000_000), size(12_345_678_901)
    ('999 B', '1.5 kB', '50 MB', '12 GB')
    """
    if count < 1000:
        return f"{count} B"
    number, unit = next((count / 1000**power, unit) for power, unit in reversed([*enumerate(_UNITS, 1)]) if count >= 1000**power)
    return f"{number:.1f} {unit}" if number < 9.95 and round(number, 1) % 1 else f"{number:.0f} {unit}"


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "trial"), counted(1200, "trial")
    ('1 trial', '1,200 trials')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def params(values: Mapping[str, Any]) -> str:
    """Params on one line.

    >>> params({"lr": 0.0123456, "batch_size": 64})
    'lr 0.01235, batch_size 64'
    """
    return ", ".join(f"{name} {value(each)}" for name, each in values.items())


def searched(study: StudyConfig, values: Mapping[str, Any]) -> str:
    """The same without those that the study fixes: they are in every trial alike, and only take room."""
    space = study.space.params
    return params({name: each for name, each in values.items() if not isinstance(space.get(name), Fixed)})


def score(study: StudyConfig, trial: Trial) -> str:
    """What decides a trial's fitness, in the user's own metrics; empty for a trial that has none."""
    if trial.fitness is None:
        return ""
    goals = study.objective.goals
    if study.objective.weighted:
        parts = params({goal.metric: trial.metrics[goal.metric] for goal in goals} if trial.metrics else {})
        return value(trial.fitness[0], 5) + (f" ({parts})" if parts else "")
    values = zip(goals, trial.fitness, strict=True)
    return ", ".join(f"{goal.metric} {value(each / goal.contribution(1.0), 5)}" for goal, each in values)


def changes(trial: Trial, parent: Trial) -> str:
    """What happened to the params of a child, those that were kept left out."""
    changed = [name for name, change in trial.changes.items() if change is not Change.KEPT and name in trial.params]
    return ", ".join(f"{name} {trial.changes[name]} {_from(parent, name)}{value(trial.params[name])}" for name in changed)


def outcome(trial: Trial) -> str:
    """How a trial that failed or was stopped ended, on one line.

    The reason may span lines; the first says what happened.
    """
    return f"trial {trial.number} {trial.state}: {(trial.reason or 'no reason given').splitlines()[0]}"


def _from(parent: Trial, name: str) -> str:
    return f"{value(parent.params[name])} → " if name in parent.params else ""
