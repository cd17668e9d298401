"""Checks the study's records against the trainer's log: lost trials, lost checkpoints, retrained trials, broken rules.

The judge shares no code with the product's decisions. It counts a checkpoint as lost if the records forgot it while, by the
guarantees of the documentation, a later trial may still start from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from soak.train import score_of

Record = Mapping[str, Any]
LAST = 2  # completed trials of each member whose checkpoints stay


@dataclass(kw_only=True)
class Verdict:
    """The problems found, and the number of things checked."""

    acknowledged: int = 0
    compared: int = 0  # checkpoints, byte by byte
    refused: int = 0
    late: int = 0  # attempts that started although they had been superseded
    lost: list[str] = field(default_factory=list)
    retrained: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """True without a problem."""
        return not (self.lost or self.retrained or self.breaches)


def checked(records: Sequence[Record], log: Iterable[Record], seen: Mapping[int, Record], *, keep_best: int = 1) -> Verdict:
    """Compares the study's records with the log of its processes, and with earlier snapshots.

    Args:
        records: The trials, as `broodline trials --json` prints them.
        log: The entries of trainers and workers, in order.
        seen: Completed trials as of their first snapshot, by number.
        keep_best: The number of best trials whose checkpoints stay.
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
    verdict.lost += vanished(records, keep_best=keep_best)
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


def vanished(records: Sequence[Record], *, keep_best: int = 1) -> Iterable[str]:
    """The checkpoints that the records no longer name, although no successor made them unneeded.

    A completed trial of a member is succeeded by `LAST` later ones. The best trials and the parents of unfinished ones keep
    theirs whatever succeeds them.

    Args:
        records: The trials at one moment; it does not matter whether they include the unfinished ones.
        keep_best: The number of best trials whose checkpoints stay.
    """
    completed = [record for record in records if record["state"] == "completed"]
    by_member: dict[int, list[Record]] = {}
    for record in sorted(completed, key=lambda record: record["generation"]):
        by_member.setdefault(record["member"], []).append(record)
    best = sorted(completed, key=lambda record: record["fitness"], reverse=True)[:keep_best]
    needed = {record["number"]: "is among the last of its member" for own in by_member.values() for record in own[-LAST:]}
    needed |= {record["parent"]: f"is the parent of trial {record['number']}" for record in records if _unfinished(record)}
    needed |= {record["number"]: "is among the best" for record in best}
    for record in completed:
        if record["number"] in needed and record["checkpoint"] is None:
            yield f"trial {record['number']} {needed[record['number']]}, and its checkpoint is no longer recorded"


def _unfinished(record: Record) -> bool:
    return record["state"] in ("pending", "running")


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
