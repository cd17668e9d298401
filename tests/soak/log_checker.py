"""Checks the study's records against the trainer's log and the bytes on disk: lost trials, retrained trials, broken rules."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soak.train import digest_of, score_of

from broodline.errors import CheckpointError
from broodline.storage.checkpoints.local import LocalCheckpointStore
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing import check_invariants

Record = Mapping[str, Any]


@dataclass(kw_only=True)
class Verdict:
    """The problems found, and the number of things checked."""

    acknowledged: int = 0
    refused: int = 0
    late: int = 0  # attempts that started although they had been superseded
    lost: list[str] = field(default_factory=list)
    retrained: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """True without a problem."""
        return not (self.lost or self.retrained or self.breaches)


def checked(records: Sequence[Record], log: Iterable[Record], seen: Mapping[int, Record]) -> Verdict:
    """Compares the study's records with the log of its processes, and with earlier snapshots.

    Args:
        records: The trials, as `broodline trials --json` prints them.
        log: The entries of trainers and workers, in order.
        seen: Completed trials as of their first snapshot, by number.
    """
    verdict, acknowledged, started, saved = Verdict(), dict[int, int](), dict[int, int](), dict[tuple[int, int], Record]()
    for entry in log:
        number, attempt = entry["trial"], entry["attempt"]
        match entry["event"]:
            case "started":
                started[number] = max(attempt, started.get(number, 0))
                if number in acknowledged:
                    _check_late_start(verdict, number, attempt, acknowledged[number])
            case "saved":
                saved[number, attempt] = entry
            case "refused":
                verdict.refused += 1
            case "acknowledged":
                if acknowledged.setdefault(number, attempt) != attempt:
                    verdict.retrained.append(f"trial {number}: attempts {acknowledged[number]} and {attempt} were acknowledged")
    verdict.acknowledged = len(acknowledged)
    by_number = {record["number"]: record for record in records}
    for number, attempt in acknowledged.items():
        record = by_number.get(number, {})
        if (record.get("state"), record.get("attempt")) != ("completed", attempt):
            verdict.lost.append(f"trial {number}: attempt {attempt} was acknowledged; recorded is {dict(record)}")
    for number, attempt in acknowledged.items():
        if started.get(number, 0) > attempt:
            verdict.retrained.append(f"trial {number}: attempt {started[number]} started, and attempt {attempt} was acknowledged")
    for number, before in seen.items():
        if not unchanged(before, by_number.get(number, {})):
            verdict.lost.append(f"trial {number} was {dict(before)} and is {by_number.get(number)}")
    for record in records:
        if record["state"] == "completed":
            verdict.breaches += _lineage_problems(record, by_number, saved)
    return verdict


def _check_late_start(verdict: Verdict, number: int, attempt: int, acknowledged: int) -> None:
    # A worker that was stopped between its ask and its program's start may start an attempt that was superseded.
    if attempt < acknowledged:
        verdict.late += 1
    elif attempt == acknowledged:
        verdict.retrained.append(f"trial {number}: attempt {attempt} started again after it was acknowledged")


def unchanged(before: Record, now: Record) -> bool:
    """True if the record of a completed trial is unchanged, except for a deleted checkpoint."""
    deleted = now.get("checkpoint", "") is None
    return dict(now) == (dict(before) | {"checkpoint": None} if deleted else dict(before))


def _lineage_problems(record: Record, records: Mapping[int, Record], saved: Mapping[tuple[int, int], Record]) -> Iterable[str]:
    """The facts of a record that contradict the saved weights."""
    name, entry = f"trial {record['number']}", saved.get((record["number"], record["attempt"]))
    if entry is None:
        yield f"{name} is completed, but attempt {record['attempt']} never saved"
        return
    parent = None if record["parent"] is None else records[record["parent"]]
    weights = None if parent is None else saved.get((parent["number"], parent["attempt"]), {}).get("digest")
    facts = (
        ("params", record["params"], entry["params"]),
        ("start", record["start"], entry["start"]),
        ("fitness", record["fitness"], score_of(entry["digest"])),
        ("parent's weights", weights, entry["parent"]),
    )
    for name_of_fact, recorded, trained in facts:
        if recorded != trained:
            yield f"{name}: {name_of_fact}: recorded as {recorded}, trained with {trained}"


def checkpoint_problems(records: Sequence[Record], log: Iterable[Record], files: LocalCheckpointStore) -> Iterable[str]:
    """The recorded checkpoints that differ from those that their attempts saved."""
    saved = {(entry["trial"], entry["attempt"]): entry["digest"] for entry in log if entry["event"] == "saved"}
    for record in records:
        if record["checkpoint"] is None:
            continue
        path = Path(record["checkpoint"])
        try:
            found = digest_of(files.open(path.relative_to(files.root).as_posix()))
        except (CheckpointError, OSError, ValueError) as error:
            yield f"trial {record['number']}: {error}"
            continue
        if found != saved.get((record["number"], record["attempt"])):
            yield f"trial {record['number']}: {path} holds the weights of another attempt"


def disk_problems(records: Sequence[Record], files: LocalCheckpointStore) -> Iterable[str]:
    """The files of an idle study that no record names."""
    recorded = {Path(record["checkpoint"]).name for record in records if record["checkpoint"] is not None}
    present = {path.name for path in files.committed.iterdir()}
    if present != recorded:
        yield f"checkpoints that no record names: {sorted(present - recorded)}; that are missing: {sorted(recorded - present)}"
    if staged := [path.name for path in files.staging.iterdir()]:
        yield f"orphans in staging: {staged}"


def database_problems(path: Path, study: str) -> Iterable[str]:
    """The invariants that the records break, and corruption of the database."""
    with closing(sqlite3.connect(path)) as database:
        (found,) = database.execute("PRAGMA integrity_check").fetchone()
    if found != "ok":
        yield f"{path}: {found}"
    with closing(SqliteStore(path, create=False)) as store:
        try:
            check_invariants(store, study)
        except AssertionError as error:
            yield str(error)
