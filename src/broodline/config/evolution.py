"""The table [evolution]: a strategy by its name, and the options that this strategy declares.

The rules, the error messages and the documentation all follow from the declarations (`broodline.core.options`), so this module
names no strategy and no option.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

from broodline.config.fields import FLAG, ConfigTable, Rule, finite, integer, list_of, nearest, one_of, string
from broodline.core.json_values import LARGEST_INT
from broodline.core.options import Option, declared_options
from broodline.core.study import Evolution, StudyConfig
from broodline.errors import UsageError
from broodline.registry import STRATEGIES
from broodline.strategies.registry import RENAMED, load_strategy, strategy_class

_STRATEGY = string("the name of a strategy")


def parse_evolution(table: ConfigTable, *, stored: bool) -> Evolution:
    """Reads [evolution]; the result has a value for each option of the strategy.

    Args:
        table: The table.
        stored: The table comes from a store. It then may hold keys that the strategy does not use, as version 0.1 wrote them,
            and may name a strategy that is not installed here.

    Raises:
        DocumentError: The strategy is unknown, does not use a key, or a value is out of range.
    """
    name = table.value("strategy", _STRATEGY) if "strategy" in table.values else Evolution().strategy
    given = {key: value for key, value in table.values.items() if key != "strategy"}
    if stored:
        return _stored(ConfigTable(given, table.source, table.key, table.kind), RENAMED.get(name, name))
    if name in RENAMED:
        message = f"{table.source}: [evolution] strategy: '{name}' is deprecated: write '{RENAMED[name]}'"
        warnings.warn(message, FutureWarning, stacklevel=2)
        name = RENAMED[name]
    options = _options_of(table, name)
    for key in given:
        if key not in options:
            raise _unused(table, str(key), name, options)
    return _with_defaults(table, name, options)


def dump_evolution(evolution: Evolution) -> dict[str, Any]:
    """The table that the store keeps, or that makes the same study in a file."""
    options = {name: list(value) if isinstance(value, tuple) else value for name, value in evolution.options.items()}
    return {"strategy": evolution.strategy, **options}


def changed_evolution(old: Evolution, new: Evolution) -> list[str]:
    """The differences, one line each: the strategy, and the options that the new strategy has."""
    pairs: dict[str, tuple[Any, Any]] = {"strategy": (old.strategy, new.strategy)}
    pairs |= {name: (old.options.get(name), value) for name, value in new.options.items()}
    return [f"[evolution] {name}: {before!r} -> {after!r}" for name, (before, after) in pairs.items() if before != after]


def check_strategy(table: ConfigTable, study: StudyConfig) -> None:
    """Refuses a study that its strategy can't run with these values.

    Raises:
        DocumentError: The strategy has found a problem.
    """
    if found := load_strategy(study.evolution).problem(study):
        raise table.error(found.key, found.problem)


def rule_of(option: Option) -> Rule:
    """The rule of a study file for an option of a strategy."""
    item = _item_rule(option)
    if not option.is_list:
        return item
    # An option without a default has no value that could serve as an example.
    example = "" if option.required else f", such as {list(option.default)!r}"
    return list_of(item, f"a list of values, each {item.expected}{example}", at_least=1)


def options_table(*names: str) -> str:
    """The options of some strategies as a table in Markdown: a row per option, an option of several strategies once."""
    users: dict[Option, list[str]] = {}
    for name in names:
        for option in declared_options(strategy_class(name).Options):
            users.setdefault(option, []).append(f"`{name}`")
    rows = [f"| `{each.name}` | {', '.join(by)} | {_cell(each)} | {_default(each)} | {each.help} |" for each, by in users.items()]
    return "\n".join(["| option | strategies | value | default | meaning |", "|---|---|---|---|---|", *rows])


def _item_rule(option: Option) -> Rule:
    if option.one_of:
        return one_of(*option.one_of)
    if option.type is bool:
        return FLAG
    if option.type is str:
        return string("a string")
    if option.type is int:
        return integer(int(option.at_least or 0), at_most=LARGEST_INT if option.at_most is None else int(option.at_most))
    return finite(above=option.above, at_least=option.at_least, at_most=option.at_most, other_than=option.other_than)


def _cell(option: Option) -> str:
    return rule_of(option).expected.partition(", such as ")[0]


def _default(option: Option) -> str:
    if option.required:
        return "required"
    if isinstance(option.default, float):
        return f"`{option.default:.3g}`"
    return f"`{json.dumps(option.default)}`"


def _options_of(table: ConfigTable, name: str) -> Mapping[str, Option]:
    try:
        return {option.name: option for option in declared_options(strategy_class(name).Options)}
    except UsageError:
        known = STRATEGIES.names()
        problem = f"there is no strategy '{name}'{nearest(name, known)}; known: {', '.join(known)}"
        raise table.error("strategy", problem) from None


def _unused(table: ConfigTable, key: str, name: str, options: Mapping[str, Option]) -> Exception:
    takes = f"takes the options {', '.join(options)}" if options else "takes no options"
    return table.error(key, f"strategy '{name}' has no such option{nearest(key, tuple(options))}; it {takes}")


def _with_defaults(table: ConfigTable, name: str, options: Mapping[str, Option]) -> Evolution:
    values = {}
    for option in options.values():
        if option.required and option.name not in table.values:
            problem = f"is missing; strategy '{name}' needs it: {option.help}; it must be {rule_of(option).expected}"
            raise table.error(option.name, problem)
        values[option.name] = table.value(option.name, rule_of(option)) if option.name in table.values else option.default
    return Evolution(strategy=name, **values)


def _stored(table: ConfigTable, name: str) -> Evolution:
    try:
        options = {option.name: option for option in declared_options(strategy_class(name).Options)}
    except UsageError:  # of a package that is not installed here: its options are kept as they are, for reports
        return Evolution(strategy=name, **{key: _frozen(value) for key, value in table.values.items()})
    return _with_defaults(table, name, options)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
