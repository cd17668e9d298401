"""Measures a checkpoint on the test split, all of it, and prints the loss in nats a sample: once, when all is decided.

python judge.py CHECKPOINT
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import speech
import torch
import wavenet

CHUNK = 16_000  # samples predicted at a time


@torch.inference_mode()
def test_loss(checkpoint: Path) -> float:
    """The mean over every sample of every recording of the test split that has a full receptive field behind it."""
    saved = torch.load(checkpoint / "checkpoint.pt", map_location="cpu", weights_only=True)
    model = wavenet.build(saved["params"])
    model.load_state_dict(saved["model"])
    recordings, context = speech.load(saved["params"]["voice"], "test"), model.receptive_field - 1
    total, count = 0.0, 0
    for begin, end in zip(recordings.starts, recordings.starts[1:], strict=False):
        for first in range(int(begin), int(end) - context - 1, CHUNK):
            codes = np.array(recordings.codes[first : min(first + CHUNK + context + 1, end)])
            predicted = len(codes) - 1 - context
            total += predicted * wavenet.loss(model, torch.from_numpy(codes)[None].long(), context).item()
            count += predicted
    return total / count


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(test_loss(Path(sys.argv[1])))
