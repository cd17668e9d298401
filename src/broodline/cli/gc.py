"""`broodline gc`."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from broodline.cli.argument_types import positive_integer
from broodline.cli.output import print_blocks, print_json, print_line
from broodline.cli.study_argument import Target, add_target, target_of

if TYPE_CHECKING:
    from rich.table import Table

    from broodline.core.study import Retention
    from broodline.storage.base import Store
    from broodline.storage.study_files import StudyFiles
    from broodline.studies.gc import DiskUsage

PURPOSE = "Show disk usage and delete checkpoints that are no longer needed. Safe while the study runs."
EXAMPLE = "broodline gc study.toml --dry-run"
_SHOWN = 20  # numbers of trials in one line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser)
    parser.add_argument("--dry-run", action="store_true", help="only show what would be deleted")
    parser.add_argument(
        "--keep-best",
        metavar="K",
        type=positive_integer,
        help="for a study that is over: delete all checkpoints but those of the K best and those that [checkpoints] keeps",
    )
    parser.add_argument("--logs", action="store_true", help="also delete the logs of trials that completed or were stopped")
    parser.add_argument(
        "--forget-missing",
        action="store_true",
        help="give up the checkpoints that are missing or corrupt; if their disk is only away, mount it instead",
    )


def main(arguments: argparse.Namespace) -> None:
    """Shows disk usage, and deletes."""
    from broodline.errors import FilesMissing
    from broodline.studies.gc import GcOptions, clear

    target = target_of(arguments)
    with closing(target.location.open(create=False)) as store:
        options = GcOptions(
            retention=_rules_of(target, store), only_best=arguments.keep_best, logs=arguments.logs, dry=arguments.dry_run
        )
        try:
            files = _files_of(target, dry=arguments.dry_run)
        except FilesMissing:
            if not arguments.forget_missing:
                raise
            _forget(arguments, target, store, None)
            return
        if arguments.forget_missing:
            _forget(arguments, target, store, files)
            if arguments.dry_run:
                return
        usage = clear(store, target.name, files, options)
    if arguments.json:
        print_json(_document(target, usage, dry=arguments.dry_run))
        return
    print_blocks(_table(usage, dry=arguments.dry_run))
    print_line(_summary(usage, dry=arguments.dry_run, over=arguments.keep_best is not None))
    if usage.stuck:
        print_line(_stuck(usage))


def _files_of(target: Target, *, dry: bool) -> StudyFiles:
    """The files of the study; those that are to be deleted are claimed first.

    Raises:
        FilesMissing: Their directory is not there.
    """
    if dry:
        return target.files
    return target.location.claimed_files(target.name, note=lambda line: print(f"broodline: {line}", file=sys.stderr))


def _forget(arguments: argparse.Namespace, target: Target, store: Store, files: StudyFiles | None) -> None:
    from broodline.studies.forgetting import forget_missing

    dry = arguments.dry_run
    forgotten = forget_missing(store, target.name, files, dry=dry)
    if files is None and not dry:
        target.location.forget_files(target.name)
    if arguments.json:
        print_json({"study": target.name, "dry_run": dry, "forgotten": forgotten})
        return
    numbers = ", ".join(map(str, forgotten[:_SHOWN])) + (", ..." if len(forgotten) > _SHOWN else "")
    verb = "would be given up" if dry else "given up"
    print_line(f"checkpoints that are missing or corrupt: {len(forgotten)} {verb}{f' (trials {numbers})' if forgotten else ''}")


def _rules_of(target: Target, store: Store) -> Retention | None:
    """The [checkpoints] of the study file; None if the command line gives only the study's name.

    Raises:
        StudyChanged: The study in the store differs from the study file.
    """
    from broodline.controller.controller import check_same

    if target.file is None:
        return None
    with store.snapshot(target.name) as records:
        check_same(records, target.file.study)
    return target.file.study.checkpoints


def _table(usage: DiskUsage, *, dry: bool) -> Table:
    """A row a reason; a checkpoint with several reasons counts for the first one."""
    from rich.text import Text

    from broodline.core.retention import Need
    from broodline.reports.format import format_size
    from broodline.reports.terminal.tables import new_table

    reasons = {
        None: "no longer needed",
        Need.IN_USE: "in use (a pending or running trial starts from it)",
        Need.RECENT: "recent (the last two of each member)",
        Need.BEST: "of the best trials",
        Need.KEPT: "kept by [checkpoints]",
    }
    made = new_table("files", "count", "size", "", right=("count", "size"))
    mark = "would be deleted" if dry else "deleted"

    def add(files: str, count: int, size: int, *, deleted: bool = False) -> None:
        if count:
            made.add_row(files, f"{count:,}", format_size(size), Text(mark, "bold") if deleted else "")

    for need, reason in reasons.items():
        held = [each.bytes for each in usage.held if next(iter(each.needs), None) is need]
        add(f"checkpoints, {reason}", len(held), sum(filter(None, held)), deleted=need is None)
    add("checkpoints, missing on the disk", sum(each.bytes is None for each in usage.held), 0)
    for group in usage.groups:
        add(group.kind, group.count, group.bytes, deleted=group.goes)
    return made


def _summary(usage: DiskUsage, *, dry: bool, over: bool) -> str:
    from broodline.reports.format import format_size

    size = format_size(usage.freed)
    if dry:
        return f"{size} would be freed; nothing was deleted (--dry-run)"
    if not over:
        return f"{size} freed"
    return f"{size} freed; if the study is resumed, a member without a checkpoint starts from another checkpoint or from scratch"


def _stuck(usage: DiskUsage) -> str:
    directories = "1 directory" if len(usage.stuck) == 1 else f"{len(usage.stuck):,} directories"
    return (
        f"{directories} could not be deleted, such as {usage.stuck[0]}\n"
        "help: delete by hand what belongs to another user, is write-protected, or is in use as a mount point"
    )


def _document(target: Target, usage: DiskUsage, *, dry: bool) -> dict[str, object]:
    files = target.files
    return {
        "study": target.name,
        "dry_run": dry,
        "freed": usage.freed,
        "not_deleted": [str(path) for path in usage.stuck],
        "checkpoints": [
            {
                "trial": held.trial,
                "checkpoint": str(files.path(held.checkpoint)),
                "bytes": held.bytes,
                "needed": list(held.needs),
            }
            for held in usage.held
        ],
        "others": [
            {"kind": group.kind, "count": group.count, "bytes": group.bytes, "removed": group.goes} for group in usage.groups
        ],
    }
