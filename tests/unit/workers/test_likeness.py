"""How a new checkpoint resembles the one that it was trained from."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from broodline.core.trial import Trial, TrialState
from broodline.core.untrained import Likeness, doubt
from broodline.workers.likeness import likeness

Files = Mapping[str, bytes]
WEIGHTS, TRAINED = bytes(range(256)) * 40, bytes(range(1, 256)) * 40 + bytes(40)


def archive(*, year: int = 1980, **parts: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as into:
        for name, data in parts.items():
            into.writestr(zipfile.ZipInfo(name.replace("_", "."), (year, 1, 1, 0, 0, 0)), data)
    return made.getvalue()


def saved(directory: Path, files: Files) -> Path:
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory


CASES: Mapping[str, tuple[Files, Files, Likeness | None]] = {
    "the same files": ({"w": WEIGHTS, "a/b": b"1"}, {"w": WEIGHTS, "a/b": b"1"}, Likeness.SAME),
    "trained weights": ({"w": WEIGHTS, "step": b"1"}, {"w": TRAINED, "step": b"1"}, None),
    "a counter went on": ({"w": WEIGHTS, "step": b"1"}, {"w": WEIGHTS, "step": b"20"}, Likeness.SAME_WEIGHTS),
    "a file is new": ({"w": WEIGHTS}, {"w": WEIGHTS, "log": b"1"}, Likeness.SAME_WEIGHTS),
    "a file is gone": ({"w": WEIGHTS, "log": b"1"}, {"w": WEIGHTS}, Likeness.SAME_WEIGHTS),
    "another name": ({"w": WEIGHTS}, {"v": WEIGHTS}, None),
    "an archive of another time": ({"w": archive(w=WEIGHTS)}, {"w": archive(w=WEIGHTS, year=2026)}, Likeness.SAME),
    "an archive with a counter": (
        {"w": archive(w=WEIGHTS, step_npy=b"1")},
        {"w": archive(w=WEIGHTS, step_npy=b"22")},
        Likeness.SAME_WEIGHTS,
    ),
    "an archive of tensors and a long structure": (
        {"w": archive(data_0=WEIGHTS, data_pkl=b"1" * 20_000)},
        {"w": archive(data_0=WEIGHTS, data_pkl=b"2" * 20_000)},
        Likeness.SAME_WEIGHTS,
    ),
    "an archive that was trained": ({"w": archive(w=WEIGHTS)}, {"w": archive(w=TRAINED)}, None),
    "a counter in JSON": ({"w": b'{"w": [0.5], "step": 80}'}, {"w": b'{"w": [0.5], "step": 100}'}, Likeness.SAME_WEIGHTS),
    "weights in JSON": ({"w": b'{"w": [0.5], "step": 8}'}, {"w": b'{"w": [0.6], "step": 9}'}, None),
    "weights in JSON that are integers": ({"w": b'{"w": 10}'}, {"w": b'{"w": 20}'}, None),
    "no archive, though it begins like one": ({"w": b"PK\x05\x06" + bytes(18)}, {"w": b"PK\x05\x06" + bytes(30)}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_largest_part_of_a_checkpoint_shows_whether_it_was_trained(tmp_path: Path, case: str) -> None:
    before, after, expected = CASES[case]
    assert likeness(saved(tmp_path / "parent", before), saved(tmp_path / "child", after)) is expected


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    for name in ("parent", "child"):
        saved(tmp_path / name, {"w": WEIGHTS})
        os.mkfifo(tmp_path / name / "pipe")
        (tmp_path / name / "zero").symlink_to("/dev/zero")
    assert likeness(tmp_path / "parent", tmp_path / "child") is Likeness.SAME
    assert likeness(tmp_path / "nowhere", tmp_path / "child") is None


def test_a_trial_is_doubtful_if_its_checkpoint_is_a_copy_or_if_neither_weights_nor_metrics_changed() -> None:
    parent = Trial(number=3, member=0, generation=0, params={}, steps=10, state=TrialState.COMPLETED, metrics={"score": 0.5})
    trial = Trial(number=4, member=0, generation=1, params={}, start=10, steps=10, parent=3)

    def reason(likeness: Likeness | None, score: float, step: int = 20) -> str | None:
        return doubt(trial, parent, step=step, metrics={"score": score}, likeness=likeness)

    assert "identical to that of its parent, trial 3" in str(reason(Likeness.SAME, 0.6))
    assert "weights and its metrics" in str(reason(Likeness.SAME_WEIGHTS, 0.5))
    assert reason(Likeness.SAME_WEIGHTS, 0.6) is None
    assert reason(None, 0.5) is None
    assert reason(None, 0.6, step=11) == "trained 1 of 10 steps"
    assert reason(None, 0.6, step=12) is None


@pytest.mark.parametrize("depth", [450, 900, 100_000])
def test_json_that_is_nested_beyond_recursion_resembles_nothing_and_ends_no_worker(tmp_path: Path, depth: int) -> None:
    one, other = ({"w.json": b"[" * depth + number + b"]" * depth} for number in (b"1", b"2"))
    assert likeness(saved(tmp_path / "parent", one), saved(tmp_path / "saved", other)) is None
