"""WaveNet (van den Oord et al. 2016, arXiv 1609.03499): predicts each sample of a sound from those before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from speech import LEVELS


class Block(nn.Module):
    """A gated, dilated causal convolution of two taps, with a residual connection and one that skips to the output.

    Args:
        channels: Of the residual stream, and of the gated units.
        skip: Channels of the skip connection.
        dilation: How many samples lie between the two taps.
    """

    def __init__(self, channels: int, skip: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Conv1d(channels, 2 * channels, kernel_size=2, dilation=dilation)
        self.residual = nn.Conv1d(channels, channels, kernel_size=1)
        self.skip = nn.Conv1d(channels, skip, kernel_size=1)

    def forward(self, stream: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, channels, time) to the same, and (batch, skip, time)."""
        return self.gated(stream, self.taps(functional.pad(stream, (self.dilation, 0))))

    def gated(self, stream: Tensor, tapped: Tensor) -> tuple[Tensor, Tensor]:
        """The part after the convolution: gates, and the two connections."""
        signal, gate = tapped.chunk(2, dim=1)
        units = torch.tanh(signal) * torch.sigmoid(gate)
        return stream + self.residual(units), self.skip(units)


class WaveNet(nn.Module):
    """Scores of the next sample's 256 mu-law levels, at every step.

    Args:
        channels: Of the residual stream.
        skip: Channels of the skip connections.
        layers: Of a stack; their dilations are 1, 2, 4, ...
        stacks: How often that is repeated.
    """

    def __init__(self, *, channels: int, skip: int, layers: int, stacks: int) -> None:
        super().__init__()
        dilations = [2**layer for _ in range(stacks) for layer in range(layers)]
        self.embedding = nn.Embedding(LEVELS, channels)
        self.blocks = nn.ModuleList(Block(channels, skip, dilation) for dilation in dilations)
        self.mix = nn.Conv1d(skip, skip, kernel_size=1)
        self.scores = nn.Conv1d(skip, LEVELS, kernel_size=1)
        self.receptive_field = 1 + sum(dilations)

    def forward(self, codes: Tensor) -> Tensor:
        """(batch, time) levels to (batch, 256, time) scores: those at t see nothing after t."""
        stream = self.embedding(codes).transpose(1, 2)
        skips: Tensor | float = 0.0
        for block in self.blocks:
            stream, skip = block(stream)
            skips = skips + skip
        return self.head(skips)

    def head(self, skips: Tensor | float) -> Tensor:
        """From the sum of the skip connections to scores."""
        return self.scores(functional.relu(self.mix(functional.relu(skips))))


def build(params: Mapping[str, Any]) -> WaveNet:
    """The network with the sizes in a trial's hyperparameters."""
    return WaveNet(**{size: params[size] for size in ("channels", "skip", "layers", "stacks")})


def loss(model: WaveNet, codes: Tensor, context: int = 0) -> Tensor:
    """Mean cross-entropy, in nats per sample, of predicting each level of (batch, time) from those before it.

    Args:
        model: The network.
        codes: Levels.
        context: How many of the first predictions are not counted, because they see less of the past than others.
    """
    scores = model(codes[:, :-1])
    return functional.cross_entropy(scores[:, :, context:], codes[:, 1 + context :])


class Generator:
    """Makes sound sample by sample. Each layer keeps its past values, so no step computes them again.

    Each layer keeps the last `dilation` steps of its input (Le Paine et al. 2016, "Fast WaveNet", arXiv 1611.09482).

    Args:
        model: The network.
        batch: How many sounds are made side by side.
    """

    def __init__(self, model: WaveNet, batch: int = 1) -> None:
        self._model = model
        remembered = (batch, model.embedding.embedding_dim, 1)
        self._pasts = [model.embedding.weight.new_zeros(block.dilation, *remembered) for block in model.blocks]
        self._step = 0

    @torch.inference_mode()
    def scores(self, codes: Tensor) -> Tensor:
        """Takes the next level of each sound, (batch,); returns (batch, 256) scores of the one after."""
        stream = self._model.embedding(codes)[:, :, None]
        skips: Tensor | float = 0.0
        for block, past in zip(self._model.blocks, self._pasts, strict=True):
            slot = self._step % block.dilation  # from `dilation` steps ago: read, then overwritten
            taps = torch.cat([past[slot], stream], dim=2)
            past[slot] = stream
            stream, skip = block.gated(stream, functional.conv1d(taps, block.taps.weight, block.taps.bias))
            skips = skips + skip
        self._step += 1
        return self._model.head(skips)[:, :, 0]

    @torch.inference_mode()
    def sample(self, start: Tensor, count: int, temperature: float = 1.0, seed: int = 0) -> Tensor:
        """Continues (batch, time) levels with `count` more, each drawn from the network's distribution."""
        rng = torch.Generator().manual_seed(seed)
        for codes in start.T:
            scores = self.scores(codes)
        drawn = []
        for _ in range(count):
            codes = torch.multinomial(torch.softmax(scores / temperature, dim=1), 1, generator=rng)[:, 0]
            drawn.append(codes)
            scores = self.scores(codes)
        return torch.stack(drawn, dim=1)
