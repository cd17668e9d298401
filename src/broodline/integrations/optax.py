"""A schedule for Optax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    import jax.numpy as jnp
except ModuleNotFoundError as error:
    needs = f"broodline.integrations.optax needs {error.name}: pip install 'broodline[optax]'"
    raise ModuleNotFoundError(needs, name=error.name) from None

from broodline.core.schedule import Schedule
from broodline.errors import UsageError

_MOST = 2**31 - 1  # Optax counts in 32 bits


def schedule_fn(schedule: Schedule, param: str = "lr") -> Callable[[Any], jnp.ndarray]:
    """One param of a schedule as a function that Optax and `jax.jit` can trace.

    It takes the place of a learning rate, as in `optax.sgd(schedule_fn(schedule))`, and with `optax.inject_hyperparams` that of
    any hyperparameter that is a number. Optax counts updates from 0. Where training goes on from a step, or a step is more or
    less than an update, give it `schedule.shift(...)` or `schedule.rescale(...)`.

    Args:
        schedule: The schedule.
        param: Which of its params, a number everywhere.

    Returns:
        From a count (a number or an array of any shape) to the values there, of JAX's default float type.

    Raises:
        UsageError: The schedule has no such param, or not everywhere as a number, or steps that 32 bits can't count.
    """
    starts, values = schedule.numbers(param)
    if starts[-1] > _MOST:
        raise UsageError(f"the schedule goes up to step {starts[-1]}, and Optax to {_MOST}: use schedule.rescale(...)")

    def value_at(count: Any) -> jnp.ndarray:
        places = jnp.searchsorted(jnp.asarray(starts), jnp.asarray(count), side="right") - 1
        return jnp.asarray(values, dtype=float)[places]

    return value_at
