"""Measures checkpoints on the whole test split: the loss on each recording, in nats per sample. Run it after all decisions.

python judge.py CHECKPOINT ...      # prints a line of JSON for each: the losses, and the number of samples of each
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

import speech
import wavenet

CHUNK = 16_000  # samples predicted at a time


@torch.inference_mode()
def loss_of(model: wavenet.WaveNet, codes: np.ndarray) -> float:
    """The mean over every sample of a recording with a full receptive field before it."""
    context, total = model.receptive_field - 1, 0.0
    for first in range(0, len(codes) - 1 - context, CHUNK):
        part = torch.from_numpy(np.array(codes[first : first + CHUNK + context + 1])).long()
        total += wavenet.loss(model, part[None], context).item() * (len(part) - 1 - context)
    return total / (len(codes) - 1 - context)


def losses_of(checkpoint: Path) -> dict[str, list[float]]:
    """The loss on each recording of the test split."""
    saved = torch.load(checkpoint / "checkpoint.pt", map_location="cpu", weights_only=True)
    model = wavenet.build(saved["params"])
    model.load_state_dict(saved["model"])
    recordings = speech.load(saved["params"]["voice"], "test")
    shortest = model.receptive_field + 1
    places = [(int(a), int(b)) for a, b in zip(recordings.starts, recordings.starts[1:], strict=False) if b - a >= shortest]
    losses = [round(loss_of(model, recordings.codes[begin:end]), 5) for begin, end in places]
    return {"losses": losses, "samples": [end - begin - model.receptive_field for begin, end in places]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for path in map(Path, sys.argv[1:]):
        print(json.dumps(losses_of(path)), flush=True)
