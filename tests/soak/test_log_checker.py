"""The log checker of the soak finds each problem that it exists for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from soak.log_checker import checked, checkpoint_problems, disk_problems
from soak.train import save, score_of

from broodline.storage.checkpoints.local import LocalCheckpointStore
from broodline.storage.checkpoints.manifest import MANIFEST

Entry = dict[str, Any]
WEIGHTS = {number: json.dumps({"trial": number}).encode() for number in (0, 1)}
DIGESTS = {number: hashlib.sha256(weights).hexdigest() for number, weights in WEIGHTS.items()}


def a_record(number: int, **changes: Any) -> Entry:
    facts = {"params": {"lr": 0.1}, "start": 10 * number, "fitness": score_of(DIGESTS[number])}
    parent = None if number == 0 else number - 1
    return {"number": number, "state": "completed", "attempt": 1, "parent": parent, "checkpoint": None, **facts, **changes}


def entries_of(number: int) -> list[Entry]:
    identity, parent = {"trial": number, "attempt": 1}, DIGESTS.get(number - 1)
    return [
        {"event": "started", **identity},
        {"event": "saved", **identity, "params": {"lr": 0.1}, "start": 10 * number, "parent": parent, "digest": DIGESTS[number]},
        {"event": "acknowledged", **identity},
    ]


RECORDS, LOG = [a_record(0), a_record(1)], [*entries_of(0), *entries_of(1)]


def test_a_sound_study_has_a_clean_verdict() -> None:
    verdict = checked(RECORDS, LOG, {0: a_record(0, checkpoint="somewhere")})
    assert verdict.clean
    assert verdict.acknowledged == 2


@pytest.mark.parametrize(
    "record",
    [a_record(1, state="running"), a_record(1, state="failed"), a_record(1, attempt=2), {"number": 7, "state": "pending"}],
)
def test_an_acknowledged_trial_that_is_not_recorded_is_lost(record: Entry) -> None:
    assert any("trial 1" in lost for lost in checked([a_record(0), record], LOG, {}).lost)


def test_a_completed_trial_that_changes_is_lost() -> None:
    assert checked(RECORDS, LOG, {0: a_record(0, worker="another")}).lost


@pytest.mark.parametrize(
    "more",
    [
        {"event": "started", "trial": 0, "attempt": 1},
        {"event": "started", "trial": 0, "attempt": 2},
        {"event": "acknowledged", "trial": 0, "attempt": 2},
    ],
)
def test_an_acknowledged_trial_that_is_trained_again_is_retrained(more: Entry) -> None:
    assert checked(RECORDS, [*LOG, more], {}).retrained


def test_an_attempt_after_the_acknowledged_one_is_found_whenever_it_started() -> None:
    assert checked(RECORDS, [{"event": "started", "trial": 0, "attempt": 2}, *LOG], {}).retrained


def test_a_superseded_attempt_that_starts_late_is_counted_but_is_no_problem() -> None:
    superseded = [entry | {"attempt": 2} for entry in entries_of(0)]
    verdict = checked([a_record(0, attempt=2)], [*superseded, {"event": "started", "trial": 0, "attempt": 1}], {})
    assert verdict.clean
    assert verdict.late == 1


@pytest.mark.parametrize(
    ("changes", "fact"),
    [({"params": {"lr": 0.2}}, "params"), ({"start": 3}, "start"), ({"fitness": 0.5}, "fitness"), ({"parent": None}, "parent")],
)
def test_a_record_that_contradicts_the_weights_is_a_breach(changes: Entry, fact: str) -> None:
    (breach,) = checked([a_record(0), a_record(1, **changes)], LOG, {}).breaches
    assert fact in breach


def test_a_completion_without_saved_weights_is_a_breach() -> None:
    assert checked(RECORDS, [entry for entry in LOG if entry["event"] != "saved"], {}).breaches


def committed(files: LocalCheckpointStore, number: int, weights: bytes) -> Entry:
    path = files.committed / f"{number:06d}.1"
    path.mkdir()
    save(path, weights)
    sizes = {name: (path / name).stat().st_size for name in ("parts/weights", "digest")}
    (path / MANIFEST).write_text(json.dumps({"files": sizes}))
    return a_record(number, checkpoint=str(path))


def test_a_checkpoint_that_differs_from_the_saved_one_is_a_problem(tmp_path: Path) -> None:
    files = LocalCheckpointStore(tmp_path)
    files.prepare()
    records = [committed(files, number, weights) for number, weights in WEIGHTS.items()]
    assert list(checkpoint_problems(records, LOG, files)) == []
    weights = Path(records[0]["checkpoint"]) / "parts" / "weights"
    content = weights.read_bytes()
    for corrupt in (content[:-1], b"\0" + content[1:]):  # of another size, and of the same
        weights.write_bytes(corrupt)
        assert len(list(checkpoint_problems(records, LOG, files))) == 1
    records = [a_record(0, checkpoint=records[1]["checkpoint"])]
    assert "another attempt" in next(iter(checkpoint_problems(records, LOG, files)))


def test_a_file_that_no_record_names_is_a_problem(tmp_path: Path) -> None:
    files = LocalCheckpointStore(tmp_path)
    files.prepare()
    records = [committed(files, number, weights) for number, weights in WEIGHTS.items()]
    assert list(disk_problems(records, files)) == []
    assert len(list(disk_problems(records[:1], files))) == 1
    (files.staging / "000009.1").mkdir()
    assert len(list(disk_problems(records, files))) == 1
