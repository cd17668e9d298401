"""What a program reports, made measurements; and what it must not report."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from assignments import trial
from hypothesis import given
from hypothesis import strategies as st

from broodline.core.trial import Measurement
from broodline.errors import TrialFailed
from broodline.workers.metrics import finish, joined, measured, parsed

TRIAL = trial(start=100, steps=10)


def at(step: int, **metrics: Any) -> Measurement:
    return Measurement(step=step, metrics=metrics)


def test_metrics_that_name_their_step_are_measured_there() -> None:
    assert measured({"step": 107, "accuracy": 0.5}, end=110) == at(107, accuracy=0.5)


def test_metrics_without_a_step_are_of_the_end_of_the_trial() -> None:
    assert measured({"accuracy": 0.5}, end=110, last=at(104)) == at(110, accuracy=0.5)


def test_metrics_without_a_step_are_of_the_last_step_reported_if_the_program_overshot() -> None:
    assert measured({"accuracy": 0.5}, end=110, last=at(128)) == at(128, accuracy=0.5)


@pytest.mark.parametrize("step", [107, 107.0, np.int64(107), np.float32(107)])
def test_a_step_may_be_any_whole_number(step: Any) -> None:
    assert measured({"step": step, "a": 1}, end=110).step == 107


@pytest.mark.parametrize("step", [-1, 0.5, math.nan, math.inf, "7", True, [7]])
def test_a_step_that_is_no_whole_number_fails_the_trial(step: Any) -> None:
    with pytest.raises(TrialFailed, match="step must be an integer"):
        measured({"step": step, "a": 1}, end=110)


@pytest.mark.parametrize("step", [2**53 + 1, 2**63 - 1, 2**63, 1e300])
def test_a_step_beyond_2_to_the_53_fails_the_trial(step: Any) -> None:
    with pytest.raises(TrialFailed, match="step must be at most 2"):
        measured({"step": step, "a": 1}, end=110)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.array(2.5), 2.5),
        (np.array([2.5]), 2.5),
        (Decimal("0.25"), 0.25),
        (Fraction(1, 4), 0.25),
        (True, True),
        ("sgd", "sgd"),
        (None, None),
        ([1, 2], [1, 2]),
    ],
)
def test_scalars_of_any_library_become_plain_values(value: Any, expected: Any) -> None:
    taken = measured({"a": value}, end=1).metrics["a"]
    assert taken == expected
    assert type(taken) is type(expected)


@pytest.mark.parametrize("value", [np.array([1.0, 2.0]), object(), 1j, {1, 2}, np.float64])
def test_what_is_no_json_value_fails_the_trial(value: Any) -> None:
    with pytest.raises(TrialFailed, match=r"metric 'a' is a .*, not a number"):
        measured({"a": value}, end=1)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"a": 10**400}, "metric 'a' is an integer of 1329 bits, larger than every float"),
        ({"step": 10**5000}, "metric 'step' is an integer of"),
        ({"bad\udce9": 1}, r"the name of a metric is not valid Unicode: 'bad\\udce9'"),
        ({"a": "bad\udce9"}, r"metric 'a' is not valid Unicode: 'bad\\udce9'"),
        ({"a": [{"b": "bad\udce9"}]}, "metric 'a' is a list, not a number: .*surrogates not allowed"),
        ({"a": [10**5000]}, "metric 'a' is a list, not a number: Exceeds the limit"),
        ({"a": np.ma.masked}, "metric 'a' is masked: it has no value"),
        ({"a": np.ma.masked_array(3.0, mask=True)}, "metric 'a' is masked: it has no value"),
    ],
)
def test_a_value_that_some_database_or_file_can_not_hold_fails_the_trial(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(TrialFailed, match=problem):
        measured(values, end=110)


class Tensor:
    """A scalar as PyTorch and JAX have them: no subclass of float, with `item()`."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def item(self) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Variable:
    """A scalar as TensorFlow has them: without `item()`, with `__float__`."""

    def __float__(self) -> float:
        return 0.5


@pytest.mark.parametrize("value", [np.float64(0.5), np.longdouble(0.5), np.ma.masked_array(0.5), Tensor(0.5), Variable()])
def test_a_scalar_of_any_library_is_a_float(value: Any) -> None:
    taken = measured({"a": value}, end=1).metrics["a"]
    assert (taken, type(taken)) == (0.5, float)


def test_a_library_that_can_not_convert_its_scalar_fails_the_trial_whatever_it_raises() -> None:
    with pytest.raises(TrialFailed, match="metric 'a' is a Tensor, not a number: traced"):
        measured({"a": Tensor(AttributeError("traced"))}, end=1)


def test_the_name_of_a_metric_is_a_string() -> None:
    names: dict[Any, Any] = {3: 0.5}
    with pytest.raises(TrialFailed, match="the name of a metric must be a string, got 3"):
        measured(names, end=1)


def test_a_measurement_does_not_change_with_what_it_was_made_of() -> None:
    values = [1]
    taken = measured({"a": values}, end=1)
    values.append(2)
    assert taken.metrics["a"] == [1]


@pytest.mark.parametrize("line", ['{"accuracy": 0.9', "accuracy=0.9", '{"loss": naan}', "{'a'}", "[" * 100_000])
def test_invalid_json_fails_the_trial_and_is_quoted(line: str) -> None:
    with pytest.raises(TrialFailed, match="invalid JSON") as failed:
        parsed(line)
    assert line[:100] in failed.value.reason
    assert len(failed.value.reason) < 500


@pytest.mark.parametrize("line", ["[1]", "0.93", '"accuracy"', "null"])
def test_a_line_that_is_no_object_fails_the_trial_and_is_quoted(line: str) -> None:
    with pytest.raises(TrialFailed, match="not a JSON object") as failed:
        parsed(line)
    assert repr(line) in failed.value.reason


def test_a_trial_without_any_metric_has_failed() -> None:
    with pytest.raises(TrialFailed, match="no metric: it was silent"):
        finish([], TRIAL, "it was silent")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "0.9", None, [1]])
def test_a_trial_whose_last_measurement_has_no_finite_metric_has_failed(value: Any) -> None:
    with pytest.raises(TrialFailed, match="no metric of the last measurement is a finite number: a = ") as failed:
        finish([at(105, a=1.0), at(110, a=value)], TRIAL, "")
    assert repr(value) in failed.value.reason


def test_nan_and_infinity_as_python_writes_them_are_read_and_are_not_finite() -> None:
    line = json.dumps({"step": 110, "loss": math.nan, "norm": math.inf, "least": -math.inf})
    with pytest.raises(TrialFailed, match="loss = nan, norm = inf, least = -inf"):
        finish([measured(parsed(line), end=110)], TRIAL, "")


@pytest.mark.parametrize("spelled", ["nan", "NaN", "NAN", "-nan", "inf", "-inf", "Infinity", "INF", "+Inf"])
def test_a_value_that_is_not_finite_is_read_however_a_language_spells_it(spelled: str) -> None:
    assert not math.isfinite(parsed(f'{{"loss": {spelled}, "nan": 1}}')["loss"])


def test_a_metric_beside_a_finite_one_need_not_be_finite() -> None:
    measurements = [at(110, accuracy=0.5, norm=math.inf)]
    assert finish(measurements, TRIAL, "") == measurements


@pytest.mark.parametrize("step", [0, 10, 100])
def test_a_last_step_that_is_not_behind_the_start_fails_the_trial(step: int) -> None:
    with pytest.raises(TrialFailed, match=f"reported step {step}, but this trial starts at step 100"):
        finish([at(step, a=1.0)], TRIAL, "")


def test_an_early_step_that_is_not_behind_the_start_is_fine() -> None:
    measurements = [at(100, a=1.0), at(110, a=2.0)]
    assert finish(measurements, TRIAL, "") == measurements


def test_metrics_of_an_evaluation_are_added_and_win() -> None:
    before = [at(105, accuracy=0.4), at(112, accuracy=0.5, loss=1.0)]
    assert joined(before, {"accuracy": 0.3, "f1": 0.2}, TRIAL) == [*before, at(112, accuracy=0.3, loss=1.0, f1=0.2)]


def test_an_evaluation_may_be_all_that_measures() -> None:
    assert joined([], {"accuracy": 0.3}, TRIAL) == [at(110, accuracy=0.3)]


@given(st.dictionaries(st.text().filter(lambda name: name != "step"), st.floats() | st.integers() | st.booleans()))
def test_what_is_written_as_json_is_measured_as_it_was(metrics: dict[str, Any]) -> None:
    taken = measured(parsed(json.dumps(metrics)), end=1).metrics
    assert json.dumps(taken) == json.dumps(metrics)
