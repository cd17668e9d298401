"""What was lost, what was trained again, and which rules were broken: checked by the trainer's log and by bytes on the disk."""

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
    """What was found, in words, and how much was looked at."""

    acknowledged: int = 0
    refused: int = 0
    late: int = 0  # attempts that had been superseded, but did not know when they began
    lost: list[str] = field(default_factory=list)
    retrained: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.lost or self.retrained or self.breaches)


def checked(records: Sequence[Record], log: Iterable[Record], seen: Mapping[int, Record]) -> Verdict:
    """Compares what the study's records say now with what its processes logged, and with what was seen earlier.

    Args:
        records: The trials, as `broodline trials --json` prints them.
        log: What trainers and workers wrote, in order.
        seen: Completed trials as they were when they were seen first, by number.
    """
    verdict, acknowledged, begun, saved = Verdict(), dict[int, int](), dict[int, int](), dict[tuple[int, int], Record]()
    for entry in log:
        number, attempt = entry["trial"], entry["attempt"]
        match entry["what"]:
            case "begun":
                begun[number] = max(attempt, begun.get(number, 0))
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
        if begun.get(number, 0) > attempt:
            verdict.retrained.append(f"trial {number}: attempt {begun[number]} began, and attempt {attempt} was acknowledged")
    for number, before in seen.items():
        if not unchanged(before, by_number.get(number, {})):
            verdict.lost.append(f"trial {number} was {dict(before)} and is {by_number.get(number)}")
    for record in records:
        if record["state"] == "completed":
            verdict.breaches += _lineage_problems(record, by_number, saved)
    return verdict


def _check_late_start(verdict: Verdict, number: int, attempt: int, acknowledged: int) -> None:
    # A worker that stood still between its lease and its program's start may begin what was completed meanwhile.
    if attempt < acknowledged:
        verdict.late += 1
    elif attempt == acknowledged:
        verdict.retrained.append(f"trial {number}: attempt {attempt} began again after it was acknowledged")


def unchanged(before: Record, now: Record) -> bool:
    """Whether the record of a completed trial is as it was; its checkpoint may have been swept."""
    swept = now.get("checkpoint", "") is None
    return dict(now) == (dict(before) | {"checkpoint": None} if swept else dict(before))


def _lineage_problems(record: Record, records: Mapping[int, Record], saved: Mapping[tuple[int, int], Record]) -> Iterable[str]:
    """What the weights that a trial saved contradict."""
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
    for what, recorded, trained in facts:
        if recorded != trained:
            yield f"{name}: {what} are recorded as {recorded}, and were {trained}"


def checkpoint_problems(records: Sequence[Record], log: Iterable[Record], files: LocalCheckpointStore) -> Iterable[str]:
    """Which checkpoints that a record names are not what its attempt saved."""
    saved = {(entry["trial"], entry["attempt"]): entry["digest"] for entry in log if entry["what"] == "saved"}
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
    """What lies on the disk of a study that rests, and is named by no record."""
    recorded = {Path(record["checkpoint"]).name for record in records if record["checkpoint"] is not None}
    lying = {path.name for path in files.committed.iterdir()}
    if lying != recorded:
        yield f"checkpoints that no record names: {sorted(lying - recorded)}; that are missing: {sorted(recorded - lying)}"
    if staged := [path.name for path in files.staging.iterdir()]:
        yield f"staged, and of no use to anyone: {staged}"


def database_problems(path: Path, study: str) -> Iterable[str]:
    """Which rules the records break, and whether the database itself is whole."""
    with closing(sqlite3.connect(path)) as database:
        (found,) = database.execute("PRAGMA integrity_check").fetchone()
    if found != "ok":
        yield f"{path}: {found}"
    with closing(SqliteStore(path, create=False)) as store:
        try:
            check_invariants(store, study)
        except AssertionError as error:
            yield str(error)
