"""`broodline gc`."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import TYPE_CHECKING

from broodline.cli.argument_types import at_least_one
from broodline.cli.study_argument import Target, add_target, target_of

if TYPE_CHECKING:
    from rich.table import Table

    from broodline.core.study import Retention
    from broodline.storage.base import Store
    from broodline.studies.gc import DiskUsage

PURPOSE = "Show what a study holds on the disk and why, and remove what nothing needs, also while it runs."
EXAMPLE = "broodline gc study.toml --dry-run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser)
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, only show what would go")
    parser.add_argument(
        "--keep-best",
        metavar="K",
        type=at_least_one,
        help="the study is over: of all checkpoints keep those of the K best, and what [checkpoints] keeps for good",
    )
    parser.add_argument("--logs", action="store_true", help="remove the logs of trials that completed or were stopped, too")


def main(arguments: argparse.Namespace) -> None:
    """Clears away what nothing needs."""
    from broodline.reports.records import to_json
    from broodline.reports.terminal.tables import console
    from broodline.studies.gc import GcOptions, clear

    target = target_of(arguments)
    with closing(target.location.open(create=False)) as store:
        options = GcOptions(
            retention=_rules_of(target, store), only_best=arguments.keep_best, logs=arguments.logs, dry=arguments.dry_run
        )
        usage = clear(store, target.name, target.files, options)
    if arguments.json:
        print(to_json(_document(target, usage, dry=arguments.dry_run)))
        return
    printer = console()
    printer.print(_table(usage))
    printer.print(_told(target, usage, dry=arguments.dry_run, over=arguments.keep_best is not None), soft_wrap=True)


def _rules_of(target: Target, store: Store) -> Retention | None:
    """The [checkpoints] of the study file; None where the study was named without it.

    Raises:
        StudyChanged: The study in the store is another one.
    """
    from broodline.controller.controller import check_same

    if target.file is None:
        return None
    with store.snapshot(target.name) as records:
        check_same(records, target.file.study)
    return target.file.study.checkpoints


def _table(usage: DiskUsage) -> Table:
    """A row a reason; a checkpoint that is needed for several things stands at the first."""
    from rich.text import Text

    from broodline.core.retention import Need
    from broodline.reports import format as wording
    from broodline.reports.terminal.tables import table

    why = {
        None: "that nothing needs",
        Need.IN_USE: "in use by a pending or running trial",
        Need.RECENT: "recent: the last two of each member",
        Need.BEST: "of the best trials",
        Need.KEPT: "kept for good, as [checkpoints] says",
    }
    made = table("what", "count", "size", "", right=("count", "size"))

    def add(what: str, count: int, size: int, *, goes: bool = False) -> None:
        if count:
            made.add_row(what, f"{count:,}", wording.size(size), Text("goes", "bold") if goes else "")

    for need, reason in why.items():
        held = [each.bytes for each in usage.held if next(iter(each.needs), None) is need]
        add(f"checkpoints {reason}", len(held), sum(filter(None, held)), goes=need is None)
    add("of them missing on the disk", sum(each.bytes is None for each in usage.held), 0)
    for pile in usage.groups:
        add(pile.kind, pile.count, pile.bytes, goes=pile.goes)
    return made


def _told(target: Target, usage: DiskUsage, *, dry: bool, over: bool) -> str:
    from broodline.reports import format as wording

    size = wording.size(usage.freed)
    if dry:
        return f"{size} would be freed; nothing was removed (--dry-run)"
    told = f"{size} freed"
    if over:
        told += f"; should study '{target.name}' go on after all, members without a checkpoint start from another's, or anew"
    return told


def _document(target: Target, usage: DiskUsage, *, dry: bool) -> dict[str, object]:
    return {
        "study": target.name,
        "dry_run": dry,
        "freed": usage.freed,
        "checkpoints": [
            {
                "trial": held.trial,
                "checkpoint": str(target.files.path(held.checkpoint)),
                "bytes": held.bytes,
                "needed": list(held.needs),
            }
            for held in usage.held
        ],
        "others": [{"kind": pile.kind, "count": pile.count, "bytes": pile.bytes, "removed": pile.goes} for pile in usage.groups],
    }
