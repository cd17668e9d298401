"""Runs everything from data to figures and sound in about a minute, for CI; far too small for a result.

python quick.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np

import speech
from studies import HERE, SIZES

SIZE = "quick"


def call(script: str, *arguments: str | Path) -> None:
    """Runs another script of this folder, and exits with its status if it fails."""
    print(f"$ python {' '.join(map(str, (script, *arguments)))}", flush=True)
    if status := subprocess.run([sys.executable, HERE / script, *arguments]).returncode:
        sys.exit(status)


def main() -> None:
    """Runs every script, and checks their files."""
    try:
        speech.prepare(SIZES[SIZE].voice)
    except speech.NoDataError as error:
        print(f"skipped: {error}")
        return
    for folder in ("runs", "results", "figures"):
        shutil.rmtree(HERE / folder / SIZE, ignore_errors=True)
    call("experiment.py", "--size", SIZE)
    call("overhead.py", "--size", SIZE, "--steps", "5", "10", "--total", "20", "--runs", "1")
    call("figures.py", "--size", SIZE)
    sound = HERE / "figures" / SIZE / "sample.wav"
    call("sample.py", HERE / "runs" / SIZE / "pbt-5x5-0" / "study.toml", "--seconds", "0.1", "-o", sound)

    figures = sorted(path.name for path in (HERE / "figures" / SIZE).glob("*.svg"))
    assert len(figures) == 7, figures
    with wave.open(str(sound)) as file:
        made = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    assert len(made) == round(0.1 * speech.load(SIZES[SIZE].voice, "test").rate), len(made)
    assert made.std() > 0, "the sound is silence"


if __name__ == "__main__":
    main()
