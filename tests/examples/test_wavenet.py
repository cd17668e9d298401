"""The network of examples/wavenet: it hears the past and nothing else, and makes sound without computing the past again."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.frameworks

EXAMPLE = Path(__file__).parents[2] / "examples" / "wavenet"
SIZES = {"channels": 6, "skip": 10, "layers": 4, "stacks": 2}
FIELD = 1 + 2 * (1 + 2 + 4 + 8)


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    module = import_module("torch")
    module.set_num_threads(1)  # on a machine that is busy, threads that wait for each other take minutes
    return module


@pytest.fixture
def wavenet(torch: Any) -> Any:
    return import_module("wavenet")


@pytest.fixture
def model(torch: Any, wavenet: Any) -> Any:
    torch.manual_seed(0)
    return wavenet.build(SIZES).double()  # so that what must be equal is, but for the order of additions


@pytest.fixture
def codes(torch: Any) -> Any:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 80)))


def test_what_comes_later_changes_no_prediction(torch: Any, model: Any, codes: Any) -> None:
    changed = codes.clone()
    changed[:, 50] = (changed[:, 50] + 128) % 256
    before, after = model(codes), model(changed)
    assert torch.equal(before[:, :, :50], after[:, :, :50])
    assert not torch.equal(before[:, :, 50], after[:, :, 50])


def test_a_prediction_hears_exactly_the_receptive_field(torch: Any, model: Any, codes: Any) -> None:
    assert model.receptive_field == FIELD
    changed = codes.clone()
    changed[:, 10] = (changed[:, 10] + 128) % 256
    heard = (model(codes) != model(changed)).any(dim=1).any(dim=0).nonzero()[:, 0].tolist()
    assert (heard[0], heard[-1]) == (10, 10 + FIELD - 1)


def test_the_loss_is_the_cross_entropy_of_the_next_level(torch: Any, wavenet: Any, model: Any, codes: Any) -> None:
    likelihoods = torch.log_softmax(model(codes), dim=1)
    expected = -np.mean([likelihoods[b, codes[b, t + 1], t].item() for b in range(2) for t in range(20, 79)])
    assert wavenet.loss(model, codes, context=20).item() == pytest.approx(expected)


def test_the_generator_computes_what_the_whole_network_does(torch: Any, wavenet: Any, model: Any, codes: Any) -> None:
    generator = wavenet.Generator(model, batch=2)
    step_by_step = torch.stack([generator.scores(column) for column in codes.T], dim=2)
    # Before the sound begins the generator remembers zeros, with which the network pads.
    torch.testing.assert_close(step_by_step, model(codes))


def test_the_same_seed_makes_the_same_sound(torch: Any, wavenet: Any, model: Any, codes: Any) -> None:
    def sound(seed: int) -> list[int]:
        made: list[int] = wavenet.Generator(model, batch=2).sample(codes, 30, seed=seed)[0].tolist()
        return made

    assert len(sound(1)) == 30
    assert sound(1) == sound(1) != sound(2)


def test_training_that_was_saved_and_loaded_goes_on_as_if_it_had_not_been(torch: Any, wavenet: Any, tmp_path: Path) -> None:
    train = import_module("train")

    def trained(*, interrupted: bool) -> dict[str, Any]:
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        model = wavenet.build(SIZES)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for step in range(6):
            train.train_step(model, optimizer, rng.integers(0, 256, (2, 60), dtype=np.uint8))
            if interrupted and step == 2:
                train.save(tmp_path, model, optimizer, SIZES)
                model = wavenet.build(SIZES)
                optimizer = torch.optim.Adam(model.parameters(), lr=1.0)
                train.load(tmp_path, model, optimizer)
        weights: dict[str, Any] = model.state_dict()
        return weights

    straight, resumed = trained(interrupted=False), trained(interrupted=True)
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_training_learns_a_tone(torch: Any, wavenet: Any) -> None:
    train, speech = import_module("train"), import_module("speech")
    tone = speech.encode(np.sin(np.arange(4000) / 5))
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = wavenet.build({"channels": 8, "skip": 16, "layers": 4, "stacks": 1})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        begins = rng.integers(0, 3800, 4)
        train.train_step(model, optimizer, np.stack([tone[begin : begin + 200] for begin in begins]))
    loss = wavenet.loss(model, train.levels(tone[None, :1000]), model.receptive_field - 1).item()
    assert loss < 0.5 * np.log(256)
