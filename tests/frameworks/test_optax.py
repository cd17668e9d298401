"""Schedules in Optax."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from frameworks.schedules import LEARNED, RATES, STEPS

from broodline.core.schedule import Schedule, Segment
from broodline.errors import UsageError

pytestmark = pytest.mark.frameworks


@pytest.fixture
def jax() -> Any:
    return import_module("jax")


@pytest.fixture
def optax() -> Any:
    return import_module("optax")


@pytest.fixture
def adapter() -> Any:
    return import_module("broodline.integrations.optax")


def moves(jax: Any, optimizer: Any, steps: int) -> list[float]:
    """The change of a weight in each update under a gradient of -1, with the updates traced once."""
    weight = jax.numpy.zeros(())
    state, moved = optimizer.init(weight), []

    @jax.jit
    def update(state: Any) -> Any:
        return optimizer.update(-jax.numpy.ones(()), state, weight)

    for _ in range(steps):
        change, state = update(state)
        moved.append(float(change))
    assert update._cache_size() == 1
    return moved


def test_every_update_has_the_schedules_learning_rate(jax: Any, optax: Any, adapter: Any) -> None:
    optimizer = optax.sgd(learning_rate=adapter.schedule_fn(LEARNED))
    assert moves(jax, optimizer, len(STEPS)) == pytest.approx(RATES, rel=1e-6)


def test_training_resumes_at_a_step_and_in_other_units(jax: Any, optax: Any, adapter: Any) -> None:
    optimizer = optax.sgd(learning_rate=adapter.schedule_fn(LEARNED.shift(3).rescale(2)))
    assert moves(jax, optimizer, 5) == pytest.approx([RATES[step] for step in (3, 5, 7, 9, 11)], rel=1e-6)


def test_any_hyperparameter_can_be_injected(jax: Any, optax: Any, adapter: Any) -> None:
    rate, momentum = adapter.schedule_fn(LEARNED), adapter.schedule_fn(LEARNED, "momentum")
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=rate, momentum=momentum)
    weight = jax.numpy.zeros(())
    state = optimizer.init(weight)
    for step in STEPS:
        _, state = optimizer.update(jax.numpy.ones(()), state, weight)
        told = {name: float(value) for name, value in state.hyperparams.items()}
        assert told == pytest.approx({"learning_rate": RATES[step], "momentum": LEARNED(step)["momentum"]}, rel=1e-6)


def test_many_counts_have_their_values_at_once(jax: Any, adapter: Any) -> None:
    values = jax.vmap(adapter.schedule_fn(LEARNED))(jax.numpy.arange(len(STEPS)))
    assert values.tolist() == pytest.approx(RATES, rel=1e-6)
    assert adapter.schedule_fn(LEARNED)(3).shape == ()


def test_values_are_exact_where_jax_has_64_bits(jax: Any, adapter: Any) -> None:
    with jax.enable_x64(True):
        assert [float(adapter.schedule_fn(LEARNED)(step)) for step in STEPS] == RATES


def test_steps_beyond_32_bits_are_refused(adapter: Any) -> None:
    segments = (Segment(start=0, params={"lr": 0.1}), Segment(start=2**31, params={"lr": 0.2}))
    long = Schedule(segments=segments, end=2**32)
    with pytest.raises(UsageError, match=r"schedule\.rescale"):
        adapter.schedule_fn(long)
    adapter.schedule_fn(long.rescale(1000))
