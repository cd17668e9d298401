"""A schedule for PyTorch's optimizers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

try:
    import torch
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR
except ModuleNotFoundError as error:
    needs = f"broodline.integrations.torch needs {error.name}: pip install 'broodline[torch]'"
    raise ModuleNotFoundError(needs, name=error.name) from None

from broodline.core.schedule import Schedule
from broodline.errors import UsageError


def lambda_lr(optimizer: Optimizer, schedule: Schedule, param: str | Sequence[str] = "lr") -> LambdaLR:
    """A `LambdaLR` that gives an optimizer exactly the learning rates of a schedule; the first is set at once.

    Its `step()` counts steps of the schedule. Where it is called once an epoch, or training goes on from a step, give it
    `schedule.shift(...)` or `schedule.rescale(...)`. Its state can be saved and loaded as that of any scheduler.

    Args:
        optimizer: The optimizer; what learning rates it was made with does not matter.
        schedule: The schedule.
        param: The schedule's param that is the learning rate; or several, one for each of the optimizer's groups.

    Raises:
        UsageError: The schedule has no such param, or not everywhere as a number.

    Example:
        >>> scheduler = lambda_lr(optimizer, broodline.load_schedule("schedule.json"))      # doctest: +SKIP
        >>> for batch in batches:                                                          # doctest: +SKIP
        ...     train(batch); optimizer.step(); scheduler.step()
    """
    names = [param] * len(optimizer.param_groups) if isinstance(param, str) else list(param)
    if len(names) != len(optimizer.param_groups):
        raise UsageError(f"the optimizer has {len(optimizer.param_groups)} groups, but {len(names)} params are named")
    rates = [partial(_value, *schedule.numbers(name)) for name in names]
    for group in optimizer.param_groups:
        group["initial_lr"] = 1.0  # which LambdaLR multiplies: so what the lambda returns is the learning rate itself
    return LambdaLR(optimizer, rates)


def set_params(optimizer: Optimizer, schedule: Schedule, step: int, params: Iterable[str] = ("lr",)) -> None:
    """Sets params of an optimizer, in all of its groups, to those of a schedule at a step.

    Args:
        optimizer: The optimizer.
        schedule: The schedule.
        step: The step that is to be trained next.
        params: Which: names that the schedule and the optimizer share, such as `lr`, `momentum`, `weight_decay`.

    Raises:
        UsageError: The schedule has no such param at this step, or the optimizer none in one of its groups.
    """
    found = schedule(step)
    for name in params:
        if name not in found:
            raise UsageError(f"the schedule has no param '{name}' at step {step}; it has: {', '.join(found) or 'none'}")
        for group in optimizer.param_groups:
            if name not in group:
                raise UsageError(f"{type(optimizer).__name__} has no param '{name}'; it has: {', '.join(group)}")
            _set(group, name, found[name])


def _value(starts: Sequence[int], values: Sequence[float], step: int) -> float:
    return values[bisect_right(starts, step) - 1]


def _set(group: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(group[name], torch.Tensor):  # as of a captured optimizer, whose graph reads it where it lies
        group[name].fill_(value)
    else:
        group[name] = value
