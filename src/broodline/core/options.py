"""The options of a strategy: declared once, next to their defaults, as the fields of a frozen dataclass.

The declaration is data. The study file, the Python API, the documentation and the contract tests all read it, so a new option
is one line in the file of its strategy::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Options:
        parents: int = option(at_least=1, help="how many of a generation are kept as parents")
"""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, get_args, get_origin, get_type_hints

_METADATA = "broodline.option"
_TYPES = (bool, int, float, str)
_BOUNDS = {bool: (), int: ("at_least", "at_most"), float: ("at_least", "above", "at_most", "other_than"), str: ("one_of",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a strategy.

    Args:
        name: Its key in [evolution], and its keyword argument of `broodline.Evolution`.
        type: bool, int, float or str; of a list, the type of its items.
        is_list: True for a non-empty list of values.
        default: `dataclasses.MISSING` if a study must give a value.
        help: Its effect, in a few words.
        at_least, above, at_most: The range of a number, or of each number of a list. `above` is for floats only; an integer
            without `at_least` is at least 0.
        other_than: The one float of the range that is not allowed.
        one_of: The allowed strings; empty if all are.
    """

    name: str
    type: type[Any]
    is_list: bool
    default: Any
    help: str
    at_least: float | None
    above: float | None
    at_most: float | None
    other_than: float | None
    one_of: tuple[str, ...]

    @property
    def required(self) -> bool:
        """True if a study must give a value."""
        return self.default is MISSING


def option(
    default: Any = MISSING,
    *,
    help: str,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    other_than: float | None = None,
    one_of: tuple[str, ...] = (),
) -> Any:
    """Declares a field of an `Options` dataclass; the arguments are those of `Option`.

    Without a default the option is required.
    """
    declared = dict(help=help, at_least=at_least, above=above, at_most=at_most, other_than=other_than, one_of=one_of)
    return field(default=default, metadata={_METADATA: declared})


def declared_options(options: type[Any]) -> tuple[Option, ...]:
    """The options that a dataclass declares, in order.

    Raises:
        TypeError: A field is not declared with `option`, its type has no form in a study file, or a bound is not one of its type.
    """
    types = get_type_hints(options)
    return tuple(_declared(each, types[each.name]) for each in fields(options))


def _declared(each: Field[Any], annotated: Any) -> Option:
    is_list = get_origin(annotated) is tuple
    item = get_args(annotated)[0] if is_list else annotated
    if _METADATA not in each.metadata or item not in _TYPES:
        known = ", ".join(known.__name__ for known in _TYPES)
        raise TypeError(f"option '{each.name}': must be declared with option(...) and be of {known} or tuple[..., ...] of one")
    declared = each.metadata[_METADATA]
    given = [bound for bound, value in declared.items() if bound != "help" and value not in (None, ())]
    # A bound that no rule reads would be a promise that is never checked.
    if unread := [bound for bound in given if bound not in _BOUNDS[item]]:
        raise TypeError(f"option '{each.name}': {unread[0]} is not a bound of {item.__name__}")
    return Option(name=each.name, type=item, is_list=is_list, default=each.default, **declared)
