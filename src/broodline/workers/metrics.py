"""Makes measurements of the values that programs report, and decides when a trial has failed for its values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, SupportsFloat

from broodline.core.json_values import LARGEST_INT, is_finite
from broodline.core.text import has_surrogates
from broodline.core.trial import Measurement, Trial
from broodline.errors import TrialFailed
from broodline.workers.printed_objects import read_object

_PLAIN = (bool, int, float, str, type(None))
_QUOTED = 200
_EXAMPLE = '{"step": 1400, "accuracy": 0.93}'


def measured(values: Mapping[str, Any], *, end: int, last: Measurement | None = None) -> Measurement:
    """The measurement in the values that a program wrote, or a function returned.

    Args:
        values: Metrics by name, and perhaps `step`, counted from the beginning of the lineage.
        end: Its step if it names none, unless a later one was reported before.
        last: The measurement that was reported before.

    Raises:
        TrialFailed: The step or a metric has a value that can't be one.
    """
    metrics = {name: plain(name, value) for name, value in values.items() if name != "step"}
    step = values.get("step")
    return Measurement(
        step=_step(max(end, last.step if last else 0) if step is None else plain("step", step)),
        metrics=metrics,
    )


def plain(name: str, value: Any) -> Any:
    """A metric as a JSON value: the number in a scalar of NumPy, of PyTorch, or of anything else that has `item()`.

    Raises:
        TrialFailed: It is not a JSON value, or not one that every database and every file can hold.
    """
    if not isinstance(name, str):
        raise TrialFailed(f"the name of a metric must be a string, got {name!r}")
    if has_surrogates(name):
        raise TrialFailed(f"the name of a metric is not valid Unicode: {name!r}")
    if type(value) not in _PLAIN:
        value = _converted(name, value)
    if isinstance(value, str) and has_surrogates(value):
        raise TrialFailed(f"metric '{name}' is not valid Unicode: {quoted(value)}")
    if isinstance(value, int) and not is_finite(int(value)):
        raise TrialFailed(f"metric '{name}' is an integer of {value.bit_length()} bits, larger than every float")
    return value


def _converted(name: str, value: Any) -> Any:
    if _is_masked(value):
        raise TrialFailed(f"metric '{name}' is masked: it has no value")
    try:
        single = value.item() if hasattr(value, "item") else value
        if not isinstance(single, int | float) and isinstance(single, SupportsFloat):
            return float(single)
        text = json.dumps(single, ensure_ascii=False)
        text.encode()  # fails for half a surrogate pair, wherever it is nested
        return json.loads(text)
    except Exception as error:  # the conversion is the code of another library
        raise TrialFailed(f"metric '{name}' is a {type(value).__name__}, not a number: {error}") from error


def _is_masked(value: Any) -> bool:
    """True for a masked scalar of NumPy, whose `item()` is a number that was never measured."""
    mask = getattr(value, "mask", None)
    try:
        return type(value).__module__.startswith("numpy") and mask is not None and bool(mask)
    except ValueError:
        return False  # an array of several values: no metric, masked or not


def parsed(line: str) -> dict[str, Any]:
    """The JSON object in a line; `nan` and `inf` may be spelled as in any language.

    Raises:
        TrialFailed: The line is something else; the error quotes it.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        if (values := _object(line)) is None:
            raise TrialFailed(f"invalid JSON: {quoted(line)} ({error}); metrics are lines such as {_EXAMPLE}") from error
    if not isinstance(values, dict):
        raise TrialFailed(f"not a JSON object: {quoted(line)}; metrics are lines such as {_EXAMPLE}")
    return values


def _object(line: str) -> dict[str, Any] | None:
    return read_object(line) if line.lstrip().startswith("{") else None


def is_repeated(final: Measurement, measurements: Sequence[Measurement]) -> bool:
    """True if final metrics only repeat the last measurement, which then counts once."""
    return bool(measurements) and _as_text(final) == _as_text(measurements[-1])


def joined(measurements: Sequence[Measurement], evaluation: Mapping[str, Any], trial: Trial) -> list[Measurement]:
    """The measurements of a trial whose checkpoint was evaluated: a last one has these metrics too, which take precedence."""
    last = measurements[-1] if measurements else Measurement(step=trial.end, metrics={})
    return [*measurements, Measurement(step=last.step, metrics={**last.metrics, **evaluation})]


def finish(measurements: Sequence[Measurement], trial: Trial, nothing: str) -> list[Measurement]:
    """All measurements of a trial that was trained to its end, if they are fit to be recorded.

    The study's objective names the metrics that must be finite; here any one of them must be.

    Args:
        measurements: In the order in which they were made; the last one decides.
        trial: The trial.
        nothing: The message if there are none.

    Raises:
        TrialFailed: The list is empty, no metric is finite where it was measured last, or the last step is not after the first.
    """
    if not measurements:
        raise TrialFailed(f"no metric: {nothing}")
    last = measurements[-1]
    if not any(_is_finite(value) for value in last_values(measurements).values()):
        values = ", ".join(f"{name} = {value!r}" for name, value in last.metrics.items()) or "it has none"
        raise TrialFailed(f"no metric of the last measurement is a finite number: {values}")
    if last.step < trial.start or last.step == trial.start < trial.end:  # `check` asks for no steps
        raise TrialFailed(
            f"reported step {last.step}, but this trial starts at step {trial.start}: "
            "steps count from the beginning of the lineage"
        )
    return list(measurements)


def last_values(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """The last value of each metric."""
    return {name: value for measurement in measurements for name, value in measurement.metrics.items()}


def quoted(line: str) -> str:
    """A line in quotes, cut short if it is long."""
    line = line.strip()
    return repr(line if len(line) <= _QUOTED else f"{line[:_QUOTED]}...")


def _step(value: Any) -> int:
    if isinstance(value, bool) or not is_finite(value) or value < 0 or value != int(value):
        raise TrialFailed(f"step must be an integer from 0 on, got {value!r}; steps count from the beginning of the lineage")
    if value > LARGEST_INT:
        raise TrialFailed(f"step must be at most 2**53, got {value!r}; steps count from the beginning of the lineage")
    return int(value)


def _as_text(measurement: Measurement) -> str:
    """A form for comparing: as a number, NaN does not equal itself."""
    return json.dumps([measurement.step, measurement.metrics], sort_keys=True)


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)
