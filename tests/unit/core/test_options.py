"""Options are declared as the fields of a dataclass."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from typing import Any

import pytest

from broodline.core.options import Option, declared_options, option


@dataclass(frozen=True, kw_only=True)
class Declared:
    rate: float = option(0.5, above=0, at_most=1, help="a rate")
    names: tuple[str, ...] = option(("a",), one_of=("a", "b"), help="some names")
    count: int = option(at_least=2, help="a number")


@dataclass(frozen=True, kw_only=True)
class Undeclared:
    rate: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Untyped:
    pair: dict[str, int] = option(help="a table")  # noqa: RUF009


def test_a_declaration_holds_the_name_the_type_the_default_the_range_and_the_help() -> None:
    rate, names, count = declared_options(Declared)
    bounds: dict[str, Any] = {"at_least": None, "above": 0, "at_most": 1, "other_than": None, "one_of": ()}
    assert rate == Option(name="rate", type=float, is_list=False, default=0.5, help="a rate", **bounds)
    assert (names.type, names.is_list, names.one_of) == (str, True, ("a", "b"))
    assert [each.required for each in (rate, names, count)] == [False, False, True]


def test_the_dataclass_keeps_its_defaults() -> None:
    assert Declared(count=3).rate == 0.5
    with pytest.raises(TypeError, match="count"):
        Declared()


@pytest.mark.parametrize(
    ("annotation", "bounds", "problem"),
    [
        (int, {"above": 1}, "above is not a bound of int"),
        (bool, {"at_most": 1}, "at_most is not a bound of bool"),
        (str, {"at_least": 1}, "at_least is not a bound of str"),
        (tuple[float, ...], {"one_of": ("a",)}, "one_of is not a bound of float"),
    ],
)
def test_a_bound_that_no_rule_would_check_is_refused(annotation: Any, bounds: dict[str, Any], problem: str) -> None:
    made = make_dataclass("Made", [("x", annotation, option(help="x", **bounds))], frozen=True, kw_only=True)
    with pytest.raises(TypeError, match=f"option 'x': {problem}"):
        declared_options(made)


@pytest.mark.parametrize("options", [Undeclared, Untyped])
def test_a_field_that_no_study_file_can_set_is_refused(options: type) -> None:
    with pytest.raises(TypeError, match=r"must be declared with option"):
        declared_options(options)
