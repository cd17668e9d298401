"""Frees disk space: finds the files of a study, and deletes those that are no longer needed, also while it runs.

Theory of operation. The disk is listed before the records are read: an attempt that starts in between is in the records and
not in the list, so it can't be mistaken for an orphan. Records change before files are deleted: a crash in between leaves an
orphan, which the next run deletes. The other order would leave a record of a checkpoint that is gone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from broodline.config import study as definition
from broodline.config.study import study_from
from broodline.controller.sweep import best_to_keep
from broodline.core.retention import Need, is_orphan, keeps_for_good, needs
from broodline.core.study import Retention, StudyConfig
from broodline.core.trial import Checkpoint, Trial, TrialState
from broodline.errors import UsageError
from broodline.reports.status import StudyStatus, read_overview
from broodline.storage.base import Store, Transaction
from broodline.storage.checkpoints.base import AttemptDirectory
from broodline.storage.disk import size_of
from broodline.storage.study_files import StudyFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class GcOptions:
    """The options of one clean-up.

    Args:
        retention: New rules for the checkpoints to keep; they replace those in the store. None: the rules do not change.
        only_best: Keep only the checkpoints of this many best trials, and those that `retention` keeps for good. The study must
            have ended. None: keep all that the study needs to resume.
        logs: Delete the logs of trials that completed or stopped early.
        dry: Delete nothing, only compute the usage.
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
        bytes: Its size; None if it is missing on the disk.
        needs: The reasons to keep it; without one it is deleted.
    """

    trial: int
    checkpoint: str
    bytes: int | None
    needs: tuple[Need, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileGroup:
    """Files of one kind that are not checkpoints in the records.

    Args:
        kind: A description.
        count, bytes: Their number and total size.
        goes: True if they are deleted.
    """

    kind: str
    count: int
    bytes: int
    goes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUsage:
    """The disk usage of a study before a clean-up, and the part that is deleted.

    Args:
        retention: The rules that decided.
        held: The checkpoints, by trial.
        groups: All other files.
        stuck: The directories that were to be deleted and are still there.
    """

    retention: Retention
    held: tuple[CheckpointUsage, ...]
    groups: tuple[FileGroup, ...]
    stuck: tuple[Path, ...] = ()

    @property
    def freed(self) -> int:
        """The bytes of the deleted files."""
        going = sum(each.bytes or 0 for each in self.held if not each.needs) + sum(
            each.bytes for each in self.groups if each.goes
        )
        return going - sum(map(size_of, self.stuck))


def clear(store: Store, study: str, files: StudyFiles, options: GcOptions) -> DiskUsage:
    """Deletes the files that are no longer needed, and returns the usage before; safe while workers run.

    Args:
        store: The store of the study.
        study: Its name.
        files: Its files.
        options: The options.

    Raises:
        FilesMissing: The directory of the files is not there.
        UsageError: `only_best` is given, and the study has not ended.
    """
    if not options.dry:
        files.check_present()
    # The directories are listed before the records are read. A checkpoint that is committed in between is in the records and not
    # in the list, so it is not taken for an orphan.
    attempts = files.checkpoints.attempts()
    logs = list(files.logs_of_attempts())
    with store.snapshot(study) as records:  # a scan of all trials in a transaction would block workers
        held, done = _scan(records)
    opened: AbstractContextManager[Transaction] = store.snapshot(study) if options.dry else store.transaction(study)
    with opened as records:
        defined = study_from(records.definition())
        if options.only_best is not None:
            _check_ended(records, defined)
        retention = options.retention or defined.checkpoints
        decided = _decided(records, held, retention, options.only_best)
        orphans = _orphans(records, attempts)  # before `_record` removes checkpoints from the records
        if not options.dry:
            _record(records, replace(defined, checkpoints=retention), decided)
    finished_logs = [path for number, path in logs if options.logs and number in done]
    usage = DiskUsage(
        retention=retention,
        held=tuple(_held(files, trial, why) for trial, why in decided),
        groups=_groups(files, attempts, orphans, {trial.checkpoint for trial, _ in decided}, logs, finished_logs),
    )
    if options.dry:
        return usage
    # After the commit: a crash in between leaves orphans, which the next call deletes, and no record without its files.
    _remove(files, usage, orphans, finished_logs)
    return replace(usage, stuck=tuple(_stuck(files, usage, orphans)))


def _scan(records: Transaction) -> tuple[set[int], set[int]]:
    """The trials that have a checkpoint, and the trials that completed or stopped early."""
    held, done = set(), set()
    for trial in records.trials():
        if trial.checkpoint is not None:
            held.add(trial.number)
        if trial.state in (TrialState.COMPLETED, TrialState.STOPPED):
            done.add(trial.number)
    return held, done


def _check_ended(records: Transaction, study: StudyConfig) -> None:
    status = read_overview(records).status
    if status not in (StudyStatus.DONE, StudyStatus.STOPPED, StudyStatus.FAILED) or records.any_running():
        raise UsageError(
            f"study '{study.name}' is {status}: --keep-best would delete checkpoints that it resumes\n"
            "help: end it with `broodline stop`, or run gc without --keep-best"
        )


def _decided(
    records: Transaction, numbers: Collection[int], retention: Retention, only_best: int | None
) -> list[tuple[Trial, tuple[Need, ...]]]:
    """The trials that have a checkpoint now, by number, and the reasons to keep each."""
    # The scan was made before this transaction: trials that completed since are found by the index of checkpoints.
    recent = {checkpoint.trial for checkpoint in records.checkpoints()}
    found = [trial for number in sorted({*numbers, *recent}) if (trial := records.trial(number)) and trial.checkpoint]
    parents = {trial.parent for trial in records.unfinished()}
    why = needs(
        [_checkpoint(trial, in_use=trial.number in parents) for trial in found],
        best={trial.number for trial in best_to_keep(records, records.best(only_best or retention.keep_best))},
        kept={trial.number for trial in found if keeps_for_good(retention, trial)},
        active=only_best is None,
    )
    return [(trial, why[trial.number]) for trial in found]


def _checkpoint(trial: Trial, *, in_use: bool) -> Checkpoint:
    assert trial.checkpoint is not None
    return Checkpoint(trial=trial.number, member=trial.member, generation=trial.generation, path=trial.checkpoint, in_use=in_use)


def _record(records: Transaction, study: StudyConfig, decided: Iterable[tuple[Trial, tuple[Need, ...]]]) -> None:
    """Removes the checkpoints to delete from the records. Their files are deleted after the commit."""
    # The new rules are stored, so that running workers keep by them too.
    if (text := json.dumps(definition.dump(study))) != records.definition():
        records.redefine(text)
    for trial, why in decided:
        if not why:
            records.update(trial.evolve(checkpoint=None, kept=False))
        elif trial.kept is not (Need.KEPT in why):
            records.update(trial.evolve(kept=Need.KEPT in why))


def _orphans(records: Transaction, attempts: Iterable[AttemptDirectory]) -> list[AttemptDirectory]:
    return [left for left in attempts if is_orphan(records.trial(left.number), left.attempt, left.checkpoint)]


def _held(files: StudyFiles, trial: Trial, why: tuple[Need, ...]) -> CheckpointUsage:
    assert trial.checkpoint is not None
    return CheckpointUsage(
        trial=trial.number, checkpoint=trial.checkpoint, bytes=files.checkpoints.size(trial.checkpoint), needs=why
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
        _group("left by crashes and superseded attempts", [left.path for left in orphans], goes=True),
        _group("of attempts that may still complete", making),
        _group("not from broodline", files.checkpoints.unknown()),
        _group("logs", kept),
        _group("logs of trials that completed or stopped early", finished_logs, goes=True),
    )


def _group(kind: str, paths: Collection[Path], *, goes: bool = False) -> FileGroup:
    return FileGroup(kind=kind, count=len(paths), bytes=sum(map(size_of, paths)), goes=goes)


def _remove(files: StudyFiles, usage: DiskUsage, orphans: Iterable[AttemptDirectory], logs: Iterable[Path]) -> None:
    for held in usage.held:
        if not held.needs:
            files.checkpoints.remove(held.checkpoint)
    for orphan in orphans:
        files.checkpoints.remove_attempt(orphan)
    for path in logs:
        path.unlink(missing_ok=True)


def _stuck(files: StudyFiles, usage: DiskUsage, orphans: Iterable[AttemptDirectory]) -> list[Path]:
    """The directories that could not be deleted; each is tried again, since `CheckpointStore.remove` may return early."""
    going = {Path(held.checkpoint).name for held in usage.held if not held.needs}
    paths = {orphan.path for orphan in orphans}
    attempts = files.checkpoints.attempts()
    left = [each for each in attempts if each.path in paths or f"{each.number:06d}.{each.attempt}" in going]
    for each in left:
        files.checkpoints.remove_attempt(each)
    return [each.path for each in left if os.path.lexists(each.path)]
