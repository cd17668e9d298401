"""Schedules in PyTorch."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

import pytest
from frameworks.schedules import LEARNED, RATES, STEPS

from broodline.errors import UsageError

pytestmark = pytest.mark.frameworks


@pytest.fixture
def torch() -> Any:
    return import_module("torch")


@pytest.fixture
def adapter() -> Any:
    return import_module("broodline.integrations.torch")


def sgd(torch: Any, **options: Any) -> Any:
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    return torch.optim.SGD([{"params": weights[:1]}, {"params": weights[1:], "lr": 7.0}], **{"lr": 0.5, **options})


def rates(optimizer: Any) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def trained(optimizer: Any, scheduler: Any, steps: int) -> list[list[float]]:
    """Trains some steps, and returns the learning rates of each."""
    used = []
    for _ in range(steps):
        used.append(rates(optimizer))
        optimizer.step()
        scheduler.step()
    return used


def test_every_step_and_group_has_exactly_the_schedules_learning_rate(torch: Any, adapter: Any) -> None:
    optimizer = sgd(torch)
    scheduler = adapter.lambda_lr(optimizer, LEARNED)
    assert isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR)
    assert trained(optimizer, scheduler, len(STEPS)) == [[rate, rate] for rate in RATES]


def test_the_learning_rate_is_what_the_weights_move_by(torch: Any, adapter: Any) -> None:
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler = adapter.lambda_lr(optimizer, LEARNED)
    moves = []
    for _ in STEPS:
        before = weight.item()
        weight.grad = -torch.ones_like(weight)
        optimizer.step()
        scheduler.step()
        moves.append(weight.item() - before)
    assert moves == pytest.approx(RATES, rel=1e-9)


def test_a_learning_rate_that_is_a_tensor_stays_one(torch: Any, adapter: Any) -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=torch.tensor(0.5, dtype=torch.float64))
    held = optimizer.param_groups[0]["lr"]
    scheduler = adapter.lambda_lr(optimizer, LEARNED)
    assert trained(optimizer, scheduler, len(STEPS)) == [[rate] for rate in RATES]
    assert optimizer.param_groups[0]["lr"] is held


def test_each_group_can_have_its_own_hyperparameter(torch: Any, adapter: Any) -> None:
    optimizer = sgd(torch)
    adapter.lambda_lr(optimizer, LEARNED, ["lr", "momentum"])
    assert rates(optimizer) == [0.1, 0.9]
    with pytest.raises(UsageError, match="2 groups, got 1"):
        adapter.lambda_lr(optimizer, LEARNED, ["lr"])


@pytest.mark.parametrize("stopped", [0, 1, 3, 8])
def test_training_resumes_saved_states(torch: Any, adapter: Any, stopped: int) -> None:
    optimizer = sgd(torch)
    scheduler = adapter.lambda_lr(optimizer, LEARNED)
    used = trained(optimizer, scheduler, stopped)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file)
    again = sgd(torch, lr=0.25)
    scheduler = adapter.lambda_lr(again, LEARNED)
    again.load_state_dict(saved["optimizer"])
    scheduler.load_state_dict(saved["scheduler"])
    assert used + trained(again, scheduler, len(STEPS) - stopped) == [[rate, rate] for rate in RATES]


def test_a_loaded_state_does_not_bring_an_old_schedule_back(torch: Any, adapter: Any) -> None:
    old = adapter.lambda_lr(sgd(torch), LEARNED.shift(9)).state_dict()
    optimizer = sgd(torch)
    scheduler = adapter.lambda_lr(optimizer, LEARNED)
    scheduler.load_state_dict(old)
    assert trained(optimizer, scheduler, len(STEPS)) == [[rate, rate] for rate in RATES]


def test_training_resumes_at_a_step_without_saved_state(torch: Any, adapter: Any) -> None:
    optimizer = sgd(torch)
    scheduler = adapter.lambda_lr(optimizer, LEARNED.shift(3))
    assert trained(optimizer, scheduler, len(STEPS) - 3) == [[rate, rate] for rate in RATES[3:]]


def test_a_scheduler_may_step_once_per_epoch(torch: Any, adapter: Any) -> None:
    optimizer = sgd(torch)
    scheduler = adapter.lambda_lr(optimizer, LEARNED.rescale(4))
    assert trained(optimizer, scheduler, 4) == [[RATES[step]] * 2 for step in (0, 4, 8, 12)]


def test_several_params_are_set_at_a_step(torch: Any, adapter: Any) -> None:
    optimizer = sgd(torch, momentum=0.1)
    adapter.set_params(optimizer, LEARNED, 10, ["lr", "momentum"])
    assert [(group["lr"], group["momentum"]) for group in optimizer.param_groups] == [(0.3000000000000001, 0.5)] * 2


@pytest.mark.parametrize(("name", "saying"), [("weight_decay", "the schedule has no param"), ("optimizer", "SGD has no param")])
def test_a_name_that_schedule_or_optimizer_lacks_is_refused(torch: Any, adapter: Any, name: str, saying: str) -> None:
    with pytest.raises(UsageError, match=saying):
        adapter.set_params(sgd(torch), LEARNED, 0, [name])


def test_a_learning_rate_that_is_not_a_number_is_refused(torch: Any, adapter: Any) -> None:
    with pytest.raises(UsageError, match="'optimizer' must be a number, got 'sgd'"):
        adapter.lambda_lr(sgd(torch), LEARNED, "optimizer")
