"""Placeholders: what is filled into a command, what is left out, and what is left alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broodline.config.programs import PLACEHOLDERS, check_placeholders, fill

VALUES: dict[str, Any] = {
    "lr": 0.1,
    "n": 3,
    "flip": True,
    "name": "a {lr} b",
    "restore": None,
    "list": [1, "x"],
    "off": False,
    "zero": 0,
}


@pytest.mark.parametrize(
    ("argument", "filled"),
    [
        ("--lr={lr}", "--lr=0.1"),
        ("{n}", "3"),
        ("{flip}/{off}", "true/false"),
        ("{zero}", "0"),
        ("{name}", "a {lr} b"),
        ("{list}", '[1, "x"]'),
        ("{{lr}}", "{lr}"),
        ("{{{lr}}}", "{0.1}"),
        ("${lr}", "${lr}"),
        ("$ {lr} ${HOME}/{n}", "$ 0.1 ${HOME}/3"),
        ("${{lr}}", "${lr}"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_an_argument_is_filled(argument: str, filled: str) -> None:
    assert check_placeholders([argument], VALUES) == []
    assert fill([argument], VALUES) == [filled]


def test_an_argument_that_names_what_the_trial_does_not_have_is_left_out_whole() -> None:
    command = ["train", "--resume={restore}", "--both={lr}{momentum}", "--lr={lr}"]
    assert fill(command, VALUES) == ["train", "--lr=0.1"]


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_number_reads_back_as_the_same_number(value: float) -> None:
    (argument,) = fill(["{lr}"], {"lr": value})
    assert type(value)(argument) == value
    assert argument == repr(value)


@given(st.text())
def test_a_text_arrives_as_it_is(value: str) -> None:
    assert fill(["{name}"], {"name": value}) == [value]


@given(st.text())
def test_a_text_with_its_braces_doubled_arrives_as_it_was(value: str) -> None:
    doubled = value.replace("{", "{{").replace("}", "}}")
    assert check_placeholders([doubled], ()) == []
    assert fill([doubled], {}) == [value]


@given(st.lists(st.text("ab{}$", max_size=12)))
def test_a_command_without_problems_is_filled_without_an_error(command: list[str]) -> None:
    if not check_placeholders(command, ["a", "b"]):
        assert len(fill(command, {"a": 1, "b": 2})) == len(command)


@pytest.mark.parametrize(
    ("argument", "fragments"),
    [
        ("--lr={lrr}", ["{lrr}", "unknown", "did you mean 'lr'?", "known: lr, restore"]),
        ("{}", ["{}", "unknown"]),
        ("{lr:.3g}", ["{lr:.3g}", "unknown"]),
        (json.dumps({"a": 1}), ["unknown", "{{ or }}"]),
        ("a{b", ["unmatched '{'", "{{"]),
        ("a}b", ["unmatched '}'", "}}"]),
    ],
)
def test_an_unknown_name_is_told_with_those_that_are_known(argument: str, fragments: list[str]) -> None:
    (problem,) = check_placeholders(["train", argument], ("lr", *PLACEHOLDERS))
    assert all(fragment in problem for fragment in [argument, *fragments])
