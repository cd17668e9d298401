"""The definition of a study: from a document of plain tables to a `Study`, and back to what the store keeps."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from broodline.config.fields import ConfigTable, Rule, describe, duration, finite, flag, integer, list_of, nearest, one_of, text
from broodline.config.programs import PLACEHOLDERS
from broodline.core.objective import Goal, Objective
from broodline.core.parameters import Choice, Fixed, Float, Int, Ordered, Param
from broodline.core.replay import Replay, ReplaySegment
from broodline.core.space import Space
from broodline.core.study import Budget, Evolution, Limits, Retention, Stopping, StudyConfig
from broodline.errors import SpaceError, StoreError
from broodline.strategies.optuna import SAMPLERS

KEYS = (
    *("name", "trial_steps", "population", "workers", "seed"),
    *("objective", "budget", "space", "evolution", "stopping", "train", "evaluate", "checkpoints", "engine"),
)
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"

_PROBABILITY = finite(at_least=0, at_most=1)
_REQUIRED: Mapping[str, Rule] = {
    "name": text("1 to 100 letters, digits, '.', '_' and '-', the first a letter or a digit", NAME),
    "trial_steps": integer(1),
    "population": integer(1),
}
_OPTIONAL: Mapping[str, Rule] = {"workers": integer(1), "seed": integer(0)}
_GOAL: Mapping[str, Rule] = {
    "goal": one_of("maximize", "minimize"),
    "weight": finite(above=0),
    "mean_of_last": integer(1),
}
_EVOLUTION: Mapping[str, Rule] = {
    "strategy": text("the name of a strategy: initiator, generational, none or alone; optuna or grid"),
    "mutate": _PROBABILITY,
    "resample": _PROBABILITY,
    "crossover": _PROBABILITY,
    "factors": list_of(finite(above=0), "a list of numbers above 0, such as [0.8, 1.2]", at_least=1),
    "parents": integer(1),
    "sampler": one_of(*SAMPLERS),
    "points": integer(2),
}
_BUDGET: Mapping[str, Rule] = {
    "time": duration,
    "trials": integer(1),
    "generations": integer(1),
    "total_steps": integer(1),
    "target": finite(),
}
_CHECKPOINTS: Mapping[str, Rule] = {
    "keep_best": integer(1),
    "keep_every": integer(1),
    "keep_all": flag,
    "at": list_of(integer(1), "a list of steps, such as [1000, 5000]"),
    "checksums": flag,
}
_RULE = one_of("median")
_STOPPING: Mapping[str, Rule] = {
    "rule": _RULE,
    "margin": finite(at_least=0),
    "burn_in": integer(0),
    "min_trials": integer(1),
}
# These say when trials are given up. They stand beside what they are about, among keys that the store does not keep.
TRAIN_LIMITS: Mapping[str, Rule] = {"retries": integer(0), "max_failures": integer(1)}
ENGINE_LIMITS: Mapping[str, Rule] = {"max_lost": integer(1), "lease": duration}

_EVOLVING = ("initiator", "generational", "none", "alone")
_COUNTED = 100_000  # points of a grid beyond the population, so that a message can tell its size

_KINDS: Mapping[str, type[Param]] = {kind.kind: kind for kind in (Float, Int, Ordered, Choice, Fixed)}
_FORMS = "{ float = [low, high] }, { int = [low, high] }, { ordered = [values] } or { choice = [values] }"


def parse(document: Mapping[str, Any], source: str) -> StudyConfig:
    """Makes a study of a document: of a study file, of the store, or of Python's arguments.

    Args:
        document: Tables of plain values; Python's may hold parameter types, and `Budget`, `Evolution` and so on as tables.
            The keys of [train], [evaluate] and [engine] that the store does not keep are not looked at.
        source: The file, for messages.

    Raises:
        StudyFileError: The first mistake.
    """
    table = ConfigTable({name: _as_table(value) for name, value in document.items()}, source)
    stored_only = {"replay"} & table.values.keys()
    table.check_names((*KEYS, *stored_only))
    study = StudyConfig(
        **{name: table.value(name, rule) for name, rule in _REQUIRED.items()},
        **table.present(_OPTIONAL),
        objective=_objective(_filled_table(table, "objective", 'such as accuracy = "maximize"')),
        space=_space(_filled_table(table, "space", "such as lr = { float = [1e-5, 1.0], log = true }")),
        evolution=Evolution(**_checked(table.table("evolution"), _EVOLUTION)),
        budget=Budget(**_checked(table.table("budget"), _BUDGET)),
        limits=Limits(**table.table("train").present(TRAIN_LIMITS), **table.table("engine").present(ENGINE_LIMITS)),
        checkpoints=Retention(**_checked(table.table("checkpoints"), _CHECKPOINTS)),
        stopping=_stopping(table.table("stopping")) if "stopping" in table.values else None,
        replay=_replay(table.values["replay"]) if stored_only else None,
    )
    _check_together(table, study)
    return study


@lru_cache(maxsize=64)
def study_from(recorded: str) -> StudyConfig:
    """The study that a definition in the store describes. Remembered, because every call needs it and few differ."""
    try:
        document = json.loads(recorded)
    except ValueError as error:
        raise StoreError(f"the definition of a study is not JSON ({error}): the database is corrupt, restore a copy") from error
    return parse(document, "store")


def dump(study: StudyConfig) -> dict[str, Any]:
    """The document that the store keeps: `parse` makes the same study of it, also in a version with other defaults."""
    limits = _fields(study.limits)
    replay = {} if study.replay is None else {"replay": asdict(study.replay)}
    return {
        **replay,
        **{name: getattr(study, name) for name in (*_REQUIRED, *_OPTIONAL)},
        "objective": _dump_objective(study.objective),
        "space": {name: _dump_param(param) for name, param in study.space.params.items()},
        "evolution": _fields(study.evolution),
        "budget": _fields(study.budget),
        "checkpoints": _fields(study.checkpoints),
        "train": {name: limits[name] for name in TRAIN_LIMITS if name in limits},
        "engine": {name: limits[name] for name in ENGINE_LIMITS if name in limits},
        **({} if study.stopping is None else {"stopping": _fields(study.stopping)}),
    }


def changed(old: StudyConfig, new: StudyConfig) -> list[str]:
    """What differs in a new definition of a study and may not, one line each."""
    lines = [
        f"{name}: {getattr(old, name)!r} -> {getattr(new, name)!r}"
        for name in ("name", "trial_steps", "population", "seed")
        if getattr(old, name) != getattr(new, name)
    ]
    if old.objective != new.objective:
        before, after = (json.dumps(_dump_objective(study.objective)) for study in (old, new))
        lines.append(f"objective: {before} -> {after}")
    for name in _EVOLUTION:
        knob, turned = getattr(old.evolution, name), getattr(new.evolution, name)
        if knob != turned:
            lines.append(f"evolution.{name}: {knob!r} -> {turned!r}")
    if old.replay != new.replay:
        lines.append("replay: of another lineage, or with other changes")
    refused = [f"space.{line}" for line in old.space.widened_by(new.space)]
    if not refused and old.space != new.space and old.evolution.strategy == "grid":
        refused = ["space: the points of a grid follow from its ranges, so these can't grow"]
    return lines + refused


def _checked(table: ConfigTable, rules: Mapping[str, Rule]) -> dict[str, Any]:
    table.check_names(tuple(rules))
    return table.present(rules)


def _stopping(table: ConfigTable) -> Stopping:
    table.check_names(tuple(_STOPPING))
    table.value("rule", _RULE)
    return Stopping(**table.present(_STOPPING))


def _filled_table(table: ConfigTable, name: str, example: str) -> ConfigTable:
    if name not in table.values:
        raise table.error(name, f"is missing; it must be a table, {example}")
    inner = table.table(name)
    if not inner.values:
        raise inner.error("", f"is empty; it needs at least one entry, {example}")
    return inner


def _objective(table: ConfigTable) -> Objective:
    goals = [_goal(table, metric, goal) for metric, goal in table.values.items()]
    unweighted = [goal.metric for goal in goals if goal.weight is None]
    if len(goals) > 1 and 0 < len(unweighted) < len(goals):
        raise table.error(f"{unweighted[0]}.weight", "is missing; either all metrics have a weight, or none has (Pareto)")
    return Objective(goals=tuple(goals))


def _goal(table: ConfigTable, metric: str, goal: Any) -> Goal:
    check_identifier(table, metric, "metric", ("step",))
    if isinstance(goal, str):
        return Goal(metric=metric, goal=table.value(metric, _GOAL["goal"]))
    if not isinstance(goal, Mapping):
        raise table.error(metric, f'must be "maximize" or "minimize", or a table with that as its `goal`, not {describe(goal)}')
    inner = table.table(metric)
    inner.check_names(tuple(_GOAL))
    inner.value("goal", _GOAL["goal"])
    return Goal(metric=metric, **inner.present(_GOAL))


def _space(table: ConfigTable) -> Space:
    params = {name: _param(table, name) for name in table.values}
    try:
        return Space(params)
    except SpaceError as error:
        raise table.error(error.key, error.problem) from None


def _replay(document: Mapping[str, Any]) -> Replay:
    fields_ = {"segments" if name == "legs" else name: value for name, value in document.items()}  # "legs" until version 0.1
    fields_["segments"] = tuple(ReplaySegment(**segment) for segment in fields_["segments"])
    fields_["only"] = None if fields_["only"] is None else tuple(fields_["only"])
    return Replay(**fields_)


def _param(table: ConfigTable, name: str) -> Param:
    check_identifier(table, name, "parameter", PLACEHOLDERS)
    value = table.values[name]
    if isinstance(value, Param):
        return value
    if isinstance(value, Mapping):
        return _typed_param(table.table(name))
    try:
        if isinstance(value, list | tuple):
            raise SpaceError("", "")
        return Fixed(value)
    except SpaceError:
        raise table.error(
            name, f"must be {_FORMS}, or one value (a text, a finite number, a boolean), not {describe(value)}"
        ) from None


def _typed_param(table: ConfigTable) -> Param:
    kinds = [kind for kind in _KINDS if kind in table.values]
    if not kinds:
        hint = "".join(nearest(str(name), tuple(_KINDS)) for name in table.values)
        raise table.error("", f"has no type{hint}; it must be {_FORMS}")
    if len(kinds) > 1:
        raise table.error("", f"has the types {' and '.join(kinds)}; it must have one of them")
    kind = _KINDS[kinds[0]]
    options = tuple(field.name for field in fields(kind) if field.kw_only)
    table.check_names((kind.kind, *options))
    value = table.values[kind.kind]
    ranged = kind in (Float, Int)
    if ranged and not (isinstance(value, list | tuple) and len(value) == 2):
        raise table.error(kind.kind, f"must be a range [low, high], not {describe(value)}")
    try:
        return kind(*(value if ranged else [value]), **{name: table.values[name] for name in options if name in table.values})
    except SpaceError as error:
        raise table.error(error.key, error.problem) from None


def check_identifier(table: ConfigTable, name: str, what: str, reserved: tuple[str, ...]) -> None:
    """Refuses a name that can't stand in a command or an environment, or that has a meaning of its own.

    Raises:
        DocumentError: It is one.
    """
    if not re.fullmatch(IDENTIFIER, str(name)):
        raise table.error(str(name), f"the name of a {what} must be letters, digits and '_', the first no digit")
    if name in reserved:
        raise table.error(name, f"'{name}' has a meaning of its own; a {what} may not be named {', '.join(reserved)}")


def _check_together(table: ConfigTable, study: StudyConfig) -> None:
    evolution, most = study.evolution, study.population - 1
    if evolution.strategy == "generational" and evolution.parents is None:
        raise table.error("evolution.parents", "is missing; strategy generational needs it: how many of a generation are kept")
    if evolution.parents is not None and evolution.strategy in ("initiator", "none", "alone", "optuna", "grid"):
        raise table.error("evolution.parents", f"is only for strategy generational, not {evolution.strategy}")
    if evolution.parents is not None and evolution.parents > most:
        raise table.error("evolution.parents", f"must be an integer from 1 to population - 1 = {most}, not {evolution.parents}")
    if evolution.sampler is not None and evolution.strategy in (*_EVOLVING, "grid"):
        raise table.error("evolution.sampler", f"is only for strategy optuna, not {evolution.strategy}")
    if evolution.points is not None and evolution.strategy in (*_EVOLVING, "optuna"):
        raise table.error("evolution.points", f"is only for strategy grid, not {evolution.strategy}")
    if evolution.strategy in ("optuna", "grid"):
        _check_searching(table, study)
    if 1.0 in evolution.factors:
        raise table.error("evolution.factors", "must be numbers above 0 other than 1, which would change nothing")
    if study.budget.target is not None and len(study.objective.goals) > 1:
        raise table.error("budget.target", "is only for an objective of one metric; this one has several")
    if study.stopping is not None and not (len(study.objective.goals) == 1 or study.objective.weighted):
        raise table.error(
            "stopping",
            "is only for one metric, or several with weights; this objective compares several by Pareto improvement, "
            "and they have no median",
        )


def _check_searching(table: ConfigTable, study: StudyConfig) -> None:
    """The rules of strategies that try N configurations, each trained to the end."""
    evolution = study.evolution
    if study.budget.generations is None:
        raise table.error(
            "budget.generations",
            f"is missing; strategy {evolution.strategy} needs it: how many trials of trial_steps each configuration is trained",
        )
    if evolution.strategy == "grid":
        if evolution.points is None:
            raise table.error("evolution.points", "is missing; strategy grid needs it: into how many values it divides a range")
        size = len(list(islice(study.space.grid(evolution.points), study.population + _COUNTED)))
        if size != study.population:
            told = f"{size}" if size < study.population + _COUNTED else f"{size} or more"
            raise table.error("population", f"must be the number of points of the grid, {told}, not {study.population}")
    if evolution.sampler == "cmaes" and len(study.objective.goals) > 1 and not study.objective.weighted:
        raise table.error("evolution.sampler", "cmaes is only for one objective: give each metric a weight, or take tpe or gp")


def _as_table(value: Any) -> Any:
    """What Python's arguments hold in place of tables, as tables."""
    if isinstance(value, Space):
        return value.params
    if isinstance(value, Objective):
        return _dump_objective(value)
    return _fields(value) if is_dataclass(value) and not isinstance(value, type) else value


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not None, as JSON has them."""
    given = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: list(each) if isinstance(each, tuple) else each for name, each in given.items() if each is not None}


def _dump_objective(objective: Objective) -> dict[str, Any]:
    return {goal.metric: {name: value for name, value in _fields(goal).items() if name != "metric"} for goal in objective.goals}


def _dump_param(param: Param) -> dict[str, Any]:
    if isinstance(param, Fixed):
        return {"fixed": param.value}
    first = [param.low, param.high] if isinstance(param, Float | Int) else list(param.values)
    options = {field.name for field in fields(param) if field.kw_only}
    return {param.kind: first, **{name: value for name, value in _fields(param).items() if name in options}}
