"""From what a program says to measurements: the rules for steps, and for what can be a metric. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from broodline.errors import TrialFailed
from broodline.model import Measurement, Trial

_SHOWN = 200


def measured(values: Mapping[str, Any], *, end: int, last: Measurement | None) -> Measurement:
    """A measurement from metrics, of which one may be the `step`.

    Args:
        values: By name; scalars of NumPy and the like are taken for the numbers that they hold.
        end: The step at which the trial ends.
        last: What was measured before; without a step of its own, a measurement is of that step, or of the end if that is later.

    Raises:
        TrialFailed: The step is no whole number, or a metric is not a JSON value.
    """
    metrics = {str(name): _plain(str(name), value) for name, value in values.items()}
    step = metrics.pop("step", None)
    if step is None:
        step = end if last is None else max(end, last.step)
    if isinstance(step, bool) or not isinstance(step, int | float) or step != step // 1:
        raise TrialFailed(f"the step {step!r} is not a whole number")
    return Measurement(step=int(step), metrics=metrics)


def parsed(line: str) -> dict[str, Any]:
    """The metrics in a line.

    Raises:
        TrialFailed: It is not a JSON object.
    """
    metrics = found(line)
    if metrics is None:
        raise TrialFailed(f"invalid metrics: one JSON object a line is expected, not {quoted(line)}")
    return metrics


def found(line: str) -> dict[str, Any] | None:
    """The JSON object that a line is; None if it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def quoted(line: str) -> str:
    """A line as messages show it."""
    text = line.strip()
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def joined(measurements: Sequence[Measurement], metrics: Mapping[str, Any], trial: Trial) -> list[Measurement]:
    """The measurements of a trial with the metrics of its evaluation added to the last one, where they win."""
    if not measurements:
        return [measured({**metrics, "step": None}, end=trial.end, last=None)]
    *earlier, last = measurements
    return [*earlier, Measurement(step=last.step, metrics={**last.metrics, **metrics})]


def finish(measurements: Sequence[Measurement], trial: Trial, nothing: str) -> list[Measurement]:
    """The measurements of a trial that was trained to its end.

    Args:
        measurements: All of them, in order.
        trial: The trial.
        nothing: What to say if there is none.

    Raises:
        TrialFailed: There is none, or the steps are not those of the lineage.
    """
    if not measurements:
        raise TrialFailed(f"no metric: {nothing}")
    last = measurements[-1].step
    if last < trial.start or last == trial.start < trial.end:
        raise TrialFailed(
            f"reported step {last}, but this trial starts at step {trial.start}: steps count from the beginning of the lineage"
        )
    return list(measurements)


def _plain(name: str, value: Any) -> Any:
    """A JSON value: what NumPy, PyTorch and others return holds one."""
    item = getattr(value, "item", None)
    plain = item() if callable(item) else value
    try:
        json.dumps(plain)
    except (TypeError, ValueError):
        raise TrialFailed(f"metric '{name}' is {value!r:.100}, which is neither a number nor another JSON value") from None
    return plain
