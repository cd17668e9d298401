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
    """One hyperparameter of a schedule as a function that Optax and `jax.jit` can trace.

    Pass it as a learning rate, as in `optax.sgd(schedule_fn(schedule))`, or with `optax.inject_hyperparams` as any other
    hyperparameter that is a number. Optax counts updates from 0. If training resumes at a later step, or if a step is not one
    update, pass `schedule.shift(...)` or `schedule.rescale(...)`.

    Args:
        schedule: The schedule.
        param: The hyperparameter, a number in every segment.

    Returns:
        A function from a count (a number or an array of any shape) to the values there, in JAX's default float type.

    Raises:
        UsageError: The schedule does not have this hyperparameter as a number in every segment, or its steps exceed 32 bits.
    """
    starts, values = schedule.numbers(param)
    if starts[-1] > _MOST:
        raise UsageError(f"the schedule reaches step {starts[-1]}, and Optax counts to {_MOST}\nhelp: use schedule.rescale(...)")

    def value_at(count: Any) -> jnp.ndarray:
        places = jnp.searchsorted(jnp.asarray(starts), jnp.asarray(count), side="right") - 1
        return jnp.asarray(values, dtype=float)[places]

    return value_at
