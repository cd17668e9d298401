"""The log checker of the soak finds each problem that it exists for."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
from soak.log_checker import checked, unchanged, vanished
from soak.observer import Observer
from soak.stage import Stage
from soak.train import score_of

from broodline.storage.checkpoints.local import LocalCheckpointStore

Entry = dict[str, Any]
WEIGHTS = {number: json.dumps({"trial": number}).encode() for number in (0, 1)}
DIGESTS = {number: hashlib.sha256(weights).hexdigest() for number, weights in WEIGHTS.items()}


def a_record(number: int, **changes: Any) -> Entry:
    facts = {"params": {"lr": 0.1}, "start": 10 * number, "fitness": score_of(DIGESTS.get(number, "0"))}
    facts |= {"member": 0, "generation": number, "parent": None if number == 0 else number - 1}
    return {"number": number, "state": "completed", "attempt": 1, "checkpoint": f"checkpoints/{number:06d}.1", **facts, **changes}


def entries_of(number: int) -> list[Entry]:
    identity, parent = {"trial": number, "attempt": 1}, DIGESTS.get(number - 1)
    saved = {"params": {"lr": 0.1}, "start": 10 * number, "parent": parent, "digest": DIGESTS[number], "files": {}}
    return [
        {"event": "started", **identity},
        {"event": "saved", **identity, **saved},
        {"event": "acknowledged", **identity},
    ]


RECORDS, LOG = [a_record(0), a_record(1)], [*entries_of(0), *entries_of(1)]


def test_a_sound_study_has_a_clean_verdict() -> None:
    verdict = checked(RECORDS, LOG, {0: a_record(0)})
    assert verdict.clean
    assert verdict.acknowledged == 2


@pytest.mark.parametrize(
    "record",
    [a_record(1, state="running"), a_record(1, state="failed"), a_record(1, attempt=2), a_record(7, state="pending")],
)
def test_an_acknowledged_trial_that_is_not_recorded_is_lost(record: Entry) -> None:
    assert any("trial 1" in lost for lost in checked([a_record(0), record], LOG, {}).lost)


def test_only_the_checkpoint_of_a_completed_trial_may_go() -> None:
    assert unchanged(a_record(0), a_record(0, checkpoint=None))
    assert not unchanged(a_record(0, checkpoint=None), a_record(0))
    assert not unchanged(a_record(0), a_record(0, checkpoint="checkpoints/another"))


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


# Checkpoints that vanish from the records


def lineage(*fitnesses: float, **changes: Any) -> list[Entry]:
    """One member's completed trials; `changes` hold for the first of them."""
    records = [a_record(number, fitness=fitness) for number, fitness in enumerate(fitnesses)]
    return [records[0] | changes, *records[1:]]


def test_a_checkpoint_with_two_successors_may_vanish() -> None:
    assert list(vanished(lineage(0.1, 0.2, 0.3, checkpoint=None))) == []


@pytest.mark.parametrize(
    ("records", "why"),
    [
        (lineage(0.1, 0.2, checkpoint=None), "among the last"),
        (lineage(0.9, 0.2, 0.3, checkpoint=None), "among the best"),
        ([*lineage(0.1, 0.2, 0.3, checkpoint=None), a_record(3, state="pending", parent=0)], "parent of trial 3"),
        ([*lineage(0.1, 0.2, checkpoint=None), a_record(2, state="failed")], "among the last"),
        ([*lineage(0.1, 0.2, checkpoint=None), a_record(2, member=1, generation=0)], "among the last"),
    ],
    ids=["one successor", "the best", "a parent", "a successor that failed", "a successor of another member"],
)
def test_a_checkpoint_that_vanishes_without_a_successor_is_lost(records: list[Entry], why: str) -> None:
    (lost,) = vanished(records)
    assert "trial 0" in lost
    assert why in lost
    assert lost in checked(records, LOG, {}).lost


def test_as_many_best_checkpoints_are_kept_as_the_study_asks_for() -> None:
    records = lineage(0.8, 0.9, 0.3, 0.4, checkpoint=None)
    assert list(vanished(records, keep_best=1)) == []
    assert len(list(vanished(records, keep_best=2))) == 1


class Replayed:
    """A stage whose study is a series of snapshots."""

    def __init__(self, directory: Path, *snapshots: list[Entry]) -> None:
        self.checkpoints, self.study, self._snapshots = LocalCheckpointStore(directory), directory, iter(snapshots)

    def call(self, *_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess((), 0, "\n".join(map(json.dumps, next(self._snapshots))), "")


@pytest.mark.parametrize(
    "second", [[a_record(0)], [a_record(0), a_record(1, fitness=0.5)], [a_record(0), a_record(1, checkpoint=None)]]
)
def test_the_observer_reports_what_disappeared_between_two_looks(second: list[Entry], tmp_path: Path) -> None:
    observer = Observer(cast(Stage, Replayed(tmp_path, RECORDS, RECORDS, second)))
    observer.look()
    observer.look()
    assert observer.changed == []
    observer.look()
    assert any("trial 1" in change for change in observer.changed)
