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
    """A `LambdaLR` that gives an optimizer the exact learning rates of a schedule; it sets the first at once.

    Each call of `step()` is one step of the schedule. If you call it once per epoch, or if training resumes at a later step,
    pass `schedule.rescale(...)` or `schedule.shift(...)`. Save and load its state as that of any scheduler.

    Args:
        optimizer: The optimizer. Its own learning rates are not used.
        schedule: The schedule.
        param: The name of the learning rate in the schedule, or a list of names, one for each group of the optimizer.

    Raises:
        UsageError: The schedule does not have this hyperparameter as a number in every segment.

    Example:
        >>> scheduler = lambda_lr(optimizer, broodline.load_schedule("schedule.json"))      # doctest: +SKIP
        >>> for batch in batches:                                                          # doctest: +SKIP
        ...     train(batch); optimizer.step(); scheduler.step()
    """
    names = [param] * len(optimizer.param_groups) if isinstance(param, str) else list(param)
    if len(names) != len(optimizer.param_groups):
        groups = len(optimizer.param_groups)
        raise UsageError(f"param: must name one hyperparameter for each of the {groups} groups, got {len(names)}")
    rates = [partial(_value, *schedule.numbers(name)) for name in names]
    for group in optimizer.param_groups:
        group["initial_lr"] = 1.0  # LambdaLR multiplies it by the value of the schedule
    return LambdaLR(optimizer, rates)


def set_params(optimizer: Optimizer, schedule: Schedule, step: int, params: Iterable[str] = ("lr",)) -> None:
    """Sets hyperparameters of all groups of an optimizer to the values of a schedule at a step.

    Args:
        optimizer: The optimizer.
        schedule: The schedule.
        step: The next step to train.
        params: Names that the schedule and the optimizer share, such as `lr`, `momentum`, `weight_decay`.

    Raises:
        UsageError: The schedule at this step, or a group of the optimizer, does not have one of them.
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
    if isinstance(group[name], torch.Tensor):  # of a captured optimizer: its CUDA graph reads this tensor
        group[name].fill_(value)
    else:
        group[name] = value
