"""The definition of a study: from a document of plain tables to a `StudyConfig`, and back to the document in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import lru_cache
from typing import Any

from broodline.config.evolution import changed_evolution, check_strategy, dump_evolution, parse_evolution
from broodline.config.fields import DURATION, FLAG, ConfigTable, Rule, describe, finite, integer, list_of, one_of, string
from broodline.config.space import check_identifier, dump_space, parse_space
from broodline.core.objective import Goal, Objective
from broodline.core.replay import Replay, ReplaySegment
from broodline.core.space import Space
from broodline.core.study import Budget, Evolution, Limits, Retention, Stopping, StudyConfig
from broodline.errors import StoreError
from broodline.strategies.registry import strategy_class

KEYS = (
    *("name", "trial_steps", "population", "workers", "seed"),
    *("objective", "budget", "space", "evolution", "stopping", "train", "evaluate", "checkpoints", "engine"),
)
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"

_REQUIRED: Mapping[str, Rule] = {
    "name": string("1 to 100 letters, digits, '.', '_' and '-', the first a letter or a digit", NAME),
    "trial_steps": integer(1),
    "population": integer(1),
}
_OPTIONAL: Mapping[str, Rule] = {"workers": integer(1), "seed": integer(0)}
_GOAL: Mapping[str, Rule] = {
    "goal": one_of("maximize", "minimize"),
    "weight": finite(above=0),
    "mean_of_last": integer(1),
}
_BUDGET: Mapping[str, Rule] = {
    "time": DURATION,
    "trials": integer(1),
    "generations": integer(1),
    "total_steps": integer(1),
    "target": finite(),
}
_CHECKPOINTS: Mapping[str, Rule] = {
    "keep_best": integer(1),
    "keep_every": integer(1),
    "keep_all": FLAG,
    "at": list_of(integer(1), "a list of steps, such as [1000, 5000]"),
    "checksums": FLAG,
}
_RULE = one_of("median")
_STOPPING: Mapping[str, Rule] = {
    "rule": _RULE,
    "margin": finite(at_least=0),
    "burn_in": integer(0),
    "min_trials": integer(1),
}
# When a trial fails for good. In the file these keys are next to the keys that they are about, which the store does not keep.
TRAIN_LIMITS: Mapping[str, Rule] = {"retries": integer(0), "max_failures": integer(1)}
ENGINE_LIMITS: Mapping[str, Rule] = {"max_lost": integer(1), "lease": DURATION}


def parse(document: Mapping[str, Any], source: str, *, stored: bool = False) -> StudyConfig:
    """Makes a study from a document: a study file, a definition in the store, or arguments from Python.

    Args:
        document: Tables of plain values. Arguments from Python may hold parameter types, and `Budget`, `Evolution` and so on as
            tables. Keys of [train], [evaluate] and [engine] that the store does not keep are ignored.
        source: The file, for messages.
        stored: The document is the definition of an existing study: what its strategy accepted is not checked again.

    Raises:
        StudyFileError: The first error in the document.
    """
    table = ConfigTable({name: _as_table(value) for name, value in document.items()}, source)
    stored_only = {"replay"} & table.values.keys()
    table.check_names((*KEYS, *stored_only))
    study = StudyConfig(
        **{name: table.value(name, rule) for name, rule in _REQUIRED.items()},
        **table.present(_OPTIONAL),
        objective=_objective(_filled_table(table, "objective", 'such as accuracy = "maximize"')),
        space=parse_space(_filled_table(table, "space", "such as lr = { float = [1e-5, 1.0], log = true }")),
        evolution=parse_evolution(table.table("evolution"), stored=stored),
        budget=Budget(**_checked(table.table("budget"), _BUDGET)),
        limits=Limits(**table.table("train").present(TRAIN_LIMITS), **table.table("engine").present(ENGINE_LIMITS)),
        checkpoints=Retention(**_checked(table.table("checkpoints"), _CHECKPOINTS)),
        stopping=_stopping(table.table("stopping")) if "stopping" in table.values else None,
        replay=_replay(table.values["replay"]) if stored_only else None,
    )
    _check_together(table, study)
    if not stored:
        check_strategy(table, study)
    return study


@lru_cache(maxsize=64)
def study_from(recorded: str) -> StudyConfig:
    """The study of a definition in the store. Cached: every transaction needs it, and it rarely changes."""
    try:
        document = json.loads(recorded)
    except ValueError as error:
        raise StoreError(
            f"the definition of a study is not JSON ({error}): the database is corrupt\nhelp: restore it from a copy"
        ) from error
    try:
        return parse(document, "store", stored=True)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"the definition of a study can't be read ({error}): the database is corrupt\nhelp: restore it from a copy"
        ) from error


def dump(study: StudyConfig) -> dict[str, Any]:
    """The document for the store. It holds all defaults, so that `parse` makes the same study in a version with other ones."""
    limits = _fields(study.limits)
    replay = {} if study.replay is None else {"replay": asdict(study.replay)}
    return {
        **replay,
        **{name: getattr(study, name) for name in (*_REQUIRED, *_OPTIONAL)},
        "objective": _dump_objective(study.objective),
        "space": dump_space(study.space),
        "evolution": dump_evolution(study.evolution),
        "budget": _fields(study.budget),
        "checkpoints": _fields(study.checkpoints),
        "train": {name: limits[name] for name in TRAIN_LIMITS if name in limits},
        "engine": {name: limits[name] for name in ENGINE_LIMITS if name in limits},
        **({} if study.stopping is None else {"stopping": _fields(study.stopping)}),
    }


def changed(old: StudyConfig, new: StudyConfig) -> list[str]:
    """The differences of a new definition that an existing study does not allow, one line each."""
    lines = [
        f"{name}: {getattr(old, name)!r} -> {getattr(new, name)!r}"
        for name in ("name", "trial_steps", "population", "seed")
        if getattr(old, name) != getattr(new, name)
    ]
    if old.objective != new.objective:
        before, after = (json.dumps(_dump_objective(study.objective)) for study in (old, new))
        lines.append(f"objective: {before} -> {after}")
    lines += changed_evolution(old.evolution, new.evolution)
    if old.replay != new.replay:
        lines.append("replay: of another lineage, or with other changes")
    return lines + _changed_space(old, new)


def _changed_space(old: StudyConfig, new: StudyConfig) -> list[str]:
    refused = [f"[space] {line}" for line in old.space.widened_by(new.space)]
    if not refused and old.space != new.space and not strategy_class(old.evolution.strategy).space_may_grow:
        return [f"space: the configurations of strategy '{old.evolution.strategy}' follow from the ranges, so these can't grow"]
    return refused


def _checked(table: ConfigTable, rules: Mapping[str, Rule]) -> dict[str, Any]:
    table.check_names(tuple(rules))
    return table.present(rules)


def _stopping(table: ConfigTable) -> Stopping:
    table.check_names(tuple(_STOPPING))
    table.value("rule", _RULE)
    return Stopping(**table.present(_STOPPING))


def _filled_table(table: ConfigTable, name: str, example: str) -> ConfigTable:
    if name not in table.values:
        raise table.error(name, f"is missing; it must be a TOML table, {example}")
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
        raise table.error(metric, f'must be "maximize" or "minimize", or a table with a `goal`, got {describe(goal)}')
    inner = table.table(metric)
    inner.check_names(tuple(_GOAL))
    inner.value("goal", _GOAL["goal"])
    return Goal(metric=metric, **inner.present(_GOAL))


def _replay(document: Mapping[str, Any]) -> Replay:
    fields_ = {"segments" if name == "legs" else name: value for name, value in document.items()}  # "legs" until version 0.1
    fields_["segments"] = tuple(ReplaySegment(**segment) for segment in fields_["segments"])
    fields_["only"] = None if fields_["only"] is None else tuple(fields_["only"])
    return Replay(**fields_)


def _check_together(table: ConfigTable, study: StudyConfig) -> None:
    if study.budget.target is not None and len(study.objective.goals) > 1:
        raise table.error("budget.target", "is only for an objective of one metric; this one has several")
    if study.stopping is not None and not (len(study.objective.goals) == 1 or study.objective.weighted):
        raise table.error(
            "stopping",
            "is only for one metric, or for several with weights; this objective compares several by Pareto improvement, "
            "which has no median",
        )


def _as_table(value: Any) -> Any:
    """An argument from Python as the table that a study file would have."""
    if isinstance(value, Space):
        return value.params
    if isinstance(value, Evolution):
        return dump_evolution(value)
    if isinstance(value, Objective):
        return _dump_objective(value)
    return _fields(value) if is_dataclass(value) and not isinstance(value, type) else value


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not None, as JSON has them."""
    given = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: list(each) if isinstance(each, tuple) else each for name, each in given.items() if each is not None}


def _dump_objective(objective: Objective) -> dict[str, Any]:
    return {goal.metric: {name: value for name, value in _fields(goal).items() if name != "metric"} for goal in objective.goals}
