"""Makes measurements of the values that programs report, and decides when a trial has failed for its values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, SupportsFloat

from broodline.core.trial import Measurement, Trial
from broodline.errors import TrialFailed

_PLAIN = (bool, int, float, str, type(None))
_LARGEST_STEP = 2**63 - 1  # that fits into a column of a database
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
    if values.get("step") is None:
        return Measurement(step=max(end, last.step if last else 0), metrics=metrics)
    return Measurement(step=_step(plain("step", values["step"])), metrics=metrics)


def plain(name: str, value: Any) -> Any:
    """A metric as a JSON value: the number in a scalar of NumPy, of PyTorch, or of anything else that has `item()`.

    Raises:
        TrialFailed: It is not a JSON value.
    """
    if not isinstance(name, str):
        raise TrialFailed(f"the name of a metric must be a string, got {name!r}")
    if type(value) in _PLAIN:
        return value
    try:
        single = value.item() if hasattr(value, "item") else value
        if not isinstance(single, int | float) and isinstance(single, SupportsFloat):
            return float(single)
        return json.loads(json.dumps(single))
    except (TypeError, ValueError, RuntimeError, OverflowError, RecursionError) as error:
        raise TrialFailed(f"metric '{name}' is a {type(value).__name__}, not a number: {error}") from error


def parsed(line: str) -> dict[str, Any]:
    """The JSON object in a line.

    Raises:
        TrialFailed: The line is something else; the error quotes it.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TrialFailed(f"invalid JSON: {quoted(line)} ({error}); metrics are lines such as {_EXAMPLE}") from error
    if not isinstance(values, dict):
        raise TrialFailed(f"not a JSON object: {quoted(line)}; metrics are lines such as {_EXAMPLE}")
    return values


def found(line: str) -> dict[str, Any] | None:
    """The JSON object in a line of output; None for any other line."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        return parsed(line)
    except TrialFailed:
        return None


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
        TrialFailed: No measurement was made, the last has no finite metric, or its step is not after the trial's first.
    """
    if not measurements:
        raise TrialFailed(f"no metric: {nothing}")
    last = measurements[-1]
    if not any(_is_finite(value) for value in last.metrics.values()):
        values = ", ".join(f"{name} = {value!r}" for name, value in last.metrics.items()) or "it has none"
        raise TrialFailed(f"no metric of the last measurement is a finite number: {values}")
    if last.step < trial.start or last.step == trial.start < trial.end:  # `check` asks for no steps
        raise TrialFailed(
            f"reported step {last.step}, but this trial starts at step {trial.start}: "
            "steps count from the beginning of the lineage"
        )
    return list(measurements)


def quoted(line: str) -> str:
    """A line in quotes, cut short if it is long."""
    line = line.strip()
    return repr(line if len(line) <= _QUOTED else f"{line[:_QUOTED]}...")


def _step(value: Any) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LARGEST_STEP and value == int(value):
        return int(value)
    raise TrialFailed(f"step must be an integer from 0 on, got {value!r}; steps count from the beginning of the lineage")


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)
