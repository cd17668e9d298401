"""Makes sound with a trained network, writes it as a .wav, and compares it with real speech.

python sample.py runs/small/pbt-5x5-0/study.toml -o sample.wav
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

import speech
import wavenet
from experiment import broodline

PROMPT = 4000  # samples of real speech to continue


def best_of(study: Path) -> tuple[wavenet.WaveNet, str]:
    """The network of a study's best checkpoint, and the voice of its training."""
    best = json.loads(broodline("best", study, "--json").splitlines()[0])
    saved = torch.load(Path(best["checkpoint"]) / "checkpoint.pt", map_location="cpu", weights_only=True)
    model = wavenet.build(saved["params"])
    model.load_state_dict(saved["model"])
    return model, saved["params"]["voice"]


def described(samples: np.ndarray, rate: int) -> dict[str, float]:
    """Figures that distinguish speech from silence and from noise.

    Args:
        samples: (time,) in [-1, 1].
        rate: Samples a second.

    Returns:
        `rms`, the loudness; `centroid_hz`, the mean frequency by power; `low_share`, the power below 1 kHz, where the voice is;
        `neighbours`, the correlation of each sample with the next: near 0 in noise, near 1 in speech.
    """
    power = np.abs(np.fft.rfft(samples - samples.mean())) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / rate)
    total = max(float(power.sum()), 1e-12)
    return {
        "rms": float(np.sqrt(np.mean(samples**2))),
        "centroid_hz": float((power * frequencies).sum() / total),
        "low_share": float(power[frequencies < 1000].sum() / total),
        "neighbours": float(np.corrcoef(samples[:-1], samples[1:])[0, 1]) if samples.std() else 0.0,
    }


def main() -> None:
    """Samples, writes, describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study file")
    parser.add_argument("-o", "--output", type=Path, default=Path("sample.wav"))
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--temperature", type=float, default=1.0, help="below 1: more likely, duller sound")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, voice = best_of(options.study)
    real = speech.load(voice, "validation")
    count = round(options.seconds * real.rate)
    start = torch.from_numpy(real.middles(1, min(PROMPT, int(np.diff(real.starts).max())))).long()
    codes = wavenet.Generator(model).sample(start, count, temperature=options.temperature, seed=options.seed)
    samples = speech.decode(codes[0].numpy())
    speech.write_wav(options.output, real.rate, samples)
    spoken = speech.decode(np.array(real.codes[: 10 * real.rate]))
    for name, sound in (("made", samples), ("real", spoken)):
        print(json.dumps({"sound": name, **{key: round(value, 4) for key, value in described(sound, real.rate).items()}}))


if __name__ == "__main__":
    main()
