"""The recordings of examples/wavenet: the mu-law, the splits, and what is said where they can't be had."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "wavenet"


@pytest.fixture
def speech(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    return import_module("speech")


@pytest.fixture
def recorded(speech: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Forty recordings of 100 to 490 samples, each with a level of its own, as `prepare` would have written them."""
    monkeypatch.setattr(speech, "DATA", tmp_path / "data")
    wavs = [tmp_path / f"{number:02}.wav" for number in range(40)]
    for number, wav in enumerate(wavs):
        speech.write_wav(wav, 8000, speech.decode(np.full(100 + 10 * number, 6 * number, dtype=np.uint8)))
    speech.write_splits("festvox", wavs)
    return speech


def test_every_level_survives_the_round_trip(speech: Any) -> None:
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(speech.encode(speech.decode(levels)), levels)


def test_the_curve_is_that_of_the_law(speech: Any) -> None:
    assert speech.encode(np.array([-1.0, 1.0])).tolist() == [0, 255]
    assert speech.decode(np.array([191], dtype=np.uint8))[0] == pytest.approx((256 ** (127 / 255) - 1) / 255, rel=1e-5)


def test_what_the_law_loses_is_small_beside_the_sample(speech: Any) -> None:
    samples = np.linspace(-1, 1, 10_001)
    lost = np.abs(speech.decode(speech.encode(samples)) - samples)
    assert np.all(lost <= np.log(256) / 255 * (np.abs(samples) + 1 / 255) * 1.02)


def test_a_recording_survives_writing_and_reading(speech: Any, tmp_path: Path) -> None:
    samples = np.sin(np.arange(100) / 3) * 0.9
    speech.write_wav(tmp_path / "a.wav", 16000, samples)
    rate, again = speech.read_wav(tmp_path / "a.wav")
    assert rate == 16000
    np.testing.assert_allclose(again, samples, atol=1e-4)


def test_a_recording_is_in_one_split_and_stays_there(recorded: Any) -> None:
    parts = {split: recorded.load("festvox", split) for split in recorded.SPLITS}
    held = {split: {int(level) for level in part.codes} for split, part in parts.items()}
    assert sum(len(levels) for levels in held.values()) == len(set.union(*held.values())) == 40
    assert min(len(levels) for levels in held.values()) > 0
    assert recorded.split_of("00.wav") == recorded.split_of("00.wav")


def test_the_shares_of_the_splits_are_about_as_told(speech: Any) -> None:
    splits = [speech.split_of(f"{number}.wav") for number in range(4000)]
    assert {split: splits.count(split) / 4000 for split in speech.SPLITS} == pytest.approx(speech.SPLITS, abs=0.02)


def test_a_crop_lies_within_one_recording(recorded: Any) -> None:
    crops = recorded.load("festvox", "train").crops(np.random.default_rng(0), 200, 90)
    assert crops.shape == (200, 90)
    assert all(len(set(crop)) == 1 for crop in crops)


def test_recordings_that_are_too_short_are_never_cropped(recorded: Any) -> None:
    part = recorded.load("festvox", "train")
    drawn = {int(crop[0]) for crop in part.crops(np.random.default_rng(0), 500, 300)}
    long_enough = {
        int(part.codes[begin]) for begin, length in zip(part.starts, np.diff(part.starts), strict=False) if length >= 300
    }
    assert drawn == long_enough


def test_what_is_evaluated_on_is_always_the_same(recorded: Any) -> None:
    part = recorded.load("festvox", "train")
    assert np.array_equal(part.middles(5, 100), part.middles(5, 100))
    with pytest.raises(ValueError, match="recordings have 400 samples"):
        part.middles(1000, 400)


def test_where_there_is_no_apt_the_message_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(EXAMPLE)!r}); import speech; "
         f"speech.DATA = __import__('pathlib').Path({str(tmp_path)!r}) / 'data'; sys.argv = ['speech.py']; speech.main()"],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no apt-get here" in done.stderr
    assert "--deb FILE" in done.stderr
    assert "Traceback" not in done.stderr
