"""Trains a WaveNet, one trial after another: a plain resident script, which imports libraries and loads data once.

What is particular to broodline is the loop over `broodline.trials()`, and the report in the end. With the loss it reports
where the trial's time went, in seconds, for Figures 8 and 9.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import broodline
import speech
import wavenet

torch.set_num_threads(1)  # the workers share the cores among themselves
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load(directory: Path, model: wavenet.WaveNet, optimizer: torch.optim.Optimizer) -> None:
    """Reads a checkpoint of `save`."""
    saved = torch.load(directory / "checkpoint.pt", map_location=DEVICE, weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])


def save(directory: Path, model: wavenet.WaveNet, optimizer: torch.optim.Optimizer, params: dict[str, Any]) -> None:
    """Writes the weights, the state of the optimizer, and the hyperparameters, which hold the network's sizes."""
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "params": params}
    torch.save(saved, directory / "checkpoint.pt")


def levels(codes: np.ndarray) -> torch.Tensor:
    """Mu-law levels as input of the network."""
    return torch.from_numpy(codes).to(DEVICE).long()


def now() -> float:
    """Seconds since the epoch, after all pending work of the device is done."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.time()


def train_step(model: wavenet.WaveNet, optimizer: torch.optim.Optimizer, codes: np.ndarray) -> None:
    """One step of Adam. Gradients are clipped to length 1: a high rate would end in NaN at once."""
    optimizer.zero_grad()
    wavenet.loss(model, levels(codes)).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


@torch.inference_mode()
def evaluate(model: wavenet.WaveNet, recordings: speech.Recordings, params: dict[str, Any]) -> float:
    """The loss, in nats per sample, on fixed crops; every prediction that counts has a full receptive field."""
    context = model.receptive_field - 1
    codes = recordings.middles(params["crops"], context + 1 + params["crop"])
    batches = levels(codes).split(4)
    return float(np.mean([wavenet.loss(model, batch, context).item() for batch in batches]))


def main() -> None:
    """Trains all trials of this worker."""
    recordings: dict[str, speech.Recordings] = {}
    for trial in broodline.trials():
        with trial:
            begun = now()
            params = trial.params
            for split in ("train", "validation"):
                if split not in recordings:
                    recordings[split] = speech.load(params["voice"], split)
            rng = np.random.default_rng(trial.seed)
            torch.manual_seed(trial.seed)
            model = wavenet.build(params).to(DEVICE)
            optimizer = torch.optim.Adam(model.parameters())
            if trial.restore_from:
                load(trial.restore_from, model, optimizer)
            for group in optimizer.param_groups:
                group["lr"] = params["lr"]  # after loading, because the checkpoint brings the parent's

            marks = [now()]
            for step in range(trial.steps):
                train_step(model, optimizer, recordings["train"].crops(rng, params["batch"], params["segment"]))
                if step == 0:
                    marks.append(now())  # the first step is slow: it allocates buffers and reads pages
            marks.append(now())
            loss = evaluate(model, recordings["validation"], params)
            marks.append(now())
            save(trial.save_to, model, optimizer, params)
            marks.append(now())
            spans = np.diff([begun, *marks])
            seconds = dict(zip(("setup", "first_step", "other_steps", "evaluate", "save"), spans.tolist(), strict=True))
            trial.report(loss=loss, begun=begun, **seconds)


if __name__ == "__main__":
    main()
