"""Clearing the disk when somebody asks for room: what a study has there, what for, and what goes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from broodline.config import study as definition
from broodline.config.study import study_from
from broodline.core.retention import Need, is_orphan, keeps_for_good, needs
from broodline.core.study import Retention, StudyConfig
from broodline.core.trial import Checkpoint, Trial, TrialState
from broodline.errors import UsageError
from broodline.reports.status import StudyStatus, read_overview
from broodline.storage.base import Store, Transaction
from broodline.storage.checkpoints.local import AttemptDirectory, StudyFiles, size_of


@dataclass(frozen=True, slots=True, kw_only=True)
class GcOptions:
    """What somebody who asks for room wants.

    Args:
        retention: Which checkpoints outlive their use, from now on; None: as the store says.
        only_best: The study will not go on: keep the checkpoints of so many of the fittest trials, and those kept for good.
        logs: Remove the logs of the trials that completed or were stopped.
        dry: Remove nothing, only look.
    """

    retention: Retention | None = None
    only_best: int | None = None
    logs: bool = False
    dry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointUsage:
    """A checkpoint that the records name.

    Args:
        trial: The number of its trial.
        checkpoint: Its path, relative to the study's files.
        bytes: How large it is; None where it is missing on the disk.
        needs: What it is needed for; nothing: it goes.
    """

    trial: int
    checkpoint: str
    bytes: int | None
    needs: tuple[Need, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileGroup:
    """Other files of one kind.

    Args:
        kind: What they are.
        count, bytes: How many, and how large in all.
        goes: Whether they are removed.
    """

    kind: str
    count: int
    bytes: int
    goes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUsage:
    """What a study had on the disk before it was cleared, and what of it goes.

    Args:
        retention: The rules that it was judged by.
        held: The checkpoints, by number.
        piles: Everything else.
    """

    retention: Retention
    held: tuple[CheckpointUsage, ...]
    groups: tuple[FileGroup, ...]

    @property
    def freed(self) -> int:
        """The bytes of what goes."""
        return sum(each.bytes or 0 for each in self.held if not each.needs) + sum(each.bytes for each in self.groups if each.goes)


def clear(store: Store, study: str, files: StudyFiles, options: GcOptions) -> DiskUsage:
    """Removes what nothing needs; workers may be at work meanwhile.

    Raises:
        UsageError: Only the best are to stay, and the study may go on.
    """
    attempts = files.attempts()  # before the records are read: the directories of what is begun meanwhile are no orphans
    logs = list(files.logs_of_attempts())
    with store.snapshot(study) as records:  # the one look at all trials is not taken in the way of the workers
        held, done = _looked_through(records)
    opened: AbstractContextManager[Transaction] = store.snapshot(study) if options.dry else store.transaction(study)
    with opened as records:
        defined = study_from(records.definition())
        if options.only_best is not None:
            _check_over(records, defined)
        retention = options.retention or defined.checkpoints
        judged = _judged(records, held, retention, options.only_best)
        orphans = _orphans(records, attempts)  # before anything is taken out of the records
        if not options.dry:
            _record(records, replace(defined, checkpoints=retention), judged)
    finished_logs = [path for number, path in logs if options.logs and number in done]
    usage = DiskUsage(
        retention=retention,
        held=tuple(_held(files, trial, why) for trial, why in judged),
        groups=_groups(files, attempts, orphans, {trial.checkpoint for trial, _ in judged}, logs, finished_logs),
    )
    if not options.dry:
        _remove(files, usage, orphans, finished_logs)
    return usage


def _looked_through(records: Transaction) -> tuple[set[int], set[int]]:
    """The trials that have a checkpoint, and those whose logs nobody will ask for."""
    held, done = set(), set()
    for trial in records.trials():
        if trial.checkpoint is not None:
            held.add(trial.number)
        if trial.state in (TrialState.COMPLETED, TrialState.STOPPED):
            done.add(trial.number)
    return held, done


def _check_over(records: Transaction, study: StudyConfig) -> None:
    status = read_overview(records).status
    if status not in (StudyStatus.DONE, StudyStatus.STOPPED, StudyStatus.FAILED) or records.any_running():
        raise UsageError(
            f"study '{study.name}' is {status}, and what it would go on from must stay: `broodline stop` ends it, "
            "or let it spend its budget; without --keep-best only what nothing needs is removed"
        )


def _judged(
    records: Transaction, numbers: Collection[int], retention: Retention, only_best: int | None
) -> list[tuple[Trial, tuple[Need, ...]]]:
    """The trials that have a checkpoint now, by number, and what each is needed for."""
    recent = {checkpoint.trial for checkpoint in records.checkpoints()}
    found = [trial for number in sorted({*numbers, *recent}) if (trial := records.trial(number)) and trial.checkpoint]
    parents = {trial.parent for trial in records.unfinished()}
    why = needs(
        [_checkpoint(trial, in_use=trial.number in parents) for trial in found],
        best={trial.number for trial in records.best(only_best or retention.keep_best)},
        kept={trial.number for trial in found if keeps_for_good(retention, trial)},
        goes_on=only_best is None,
    )
    return [(trial, why[trial.number]) for trial in found]


def _checkpoint(trial: Trial, *, in_use: bool) -> Checkpoint:
    assert trial.checkpoint is not None
    return Checkpoint(trial=trial.number, member=trial.member, generation=trial.generation, path=trial.checkpoint, in_use=in_use)


def _record(records: Transaction, study: StudyConfig, judged: Iterable[tuple[Trial, tuple[Need, ...]]]) -> None:
    """Takes what goes out of the store; it goes off the disk later: one removed too late costs space, too early a lineage."""
    if (text := json.dumps(definition.dump(study))) != records.definition():
        records.redefine(text)
    for trial, why in judged:
        if not why:
            records.update(trial.evolve(checkpoint=None, kept=False))
        elif trial.kept is not (Need.KEPT in why):
            records.update(trial.evolve(kept=Need.KEPT in why))


def _orphans(records: Transaction, attempts: Iterable[AttemptDirectory]) -> list[AttemptDirectory]:
    return [left for left in attempts if is_orphan(records.trial(left.number), left.attempt, left.checkpoint)]


def _held(files: StudyFiles, trial: Trial, why: tuple[Need, ...]) -> CheckpointUsage:
    assert trial.checkpoint is not None
    path = files.path(trial.checkpoint)
    return CheckpointUsage(
        trial=trial.number, checkpoint=trial.checkpoint, bytes=size_of(path) if path.is_dir() else None, needs=why
    )


def _groups(
    files: StudyFiles,
    attempts: Sequence[AttemptDirectory],
    orphans: Sequence[AttemptDirectory],
    recorded: Collection[str | None],
    logs: Sequence[tuple[int, Path]],
    finished_logs: Sequence[Path],
) -> tuple[FileGroup, ...]:
    making = [left.path for left in attempts if left not in orphans and left.checkpoint not in recorded]
    kept = [path for _, path in logs if path not in set(finished_logs)]
    return (
        _group("left by crashes and by attempts that were superseded", [left.path for left in orphans], goes=True),
        _group("of attempts that may yet complete", making),
        _group("not from broodline", files.unknown()),
        _group("logs", kept),
        _group("logs of trials that completed or were stopped", finished_logs, goes=True),
    )


def _group(kind: str, paths: Collection[Path], *, goes: bool = False) -> FileGroup:
    return FileGroup(kind=kind, count=len(paths), bytes=sum(map(size_of, paths)), goes=goes)


def _remove(files: StudyFiles, usage: DiskUsage, orphans: Iterable[AttemptDirectory], logs: Iterable[Path]) -> None:
    for held in usage.held:
        if not held.needs:
            files.remove(held.checkpoint)
    for orphan in orphans:
        files.remove_attempt(orphan)
    for path in logs:
        path.unlink(missing_ok=True)
