"""`broodline rm`."""

from __future__ import annotations

import argparse
import sys

from broodline.cli.output import print_json, print_line
from broodline.cli.study_argument import Target, add_target, target_of
from broodline.errors import UsageError

PURPOSE = "Delete a study: its records, checkpoints and logs. Other studies in the store stay as they are."
EXAMPLE = "broodline rm study.toml --yes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser)
    parser.add_argument("--yes", action="store_true", help="delete without asking")


def main(arguments: argparse.Namespace) -> None:
    """Deletes a study."""
    from broodline.reports.format import format_count, format_size
    from broodline.studies.removal import removable, remove

    target = target_of(arguments)
    if not arguments.yes:
        content = removable(target.location, target.name)
        _ask(target, f"{format_count(content.trials, 'trial')}, {format_size(content.bytes)} in {target.files.root}")
    deleted = remove(target.location, target.name)
    if arguments.json:
        print_json({"study": target.name, "trials": deleted.trials, "bytes": deleted.bytes})
        return
    print_line(f"deleted study '{target.name}': {format_count(deleted.trials, 'trial')}, {format_size(deleted.bytes)}")


def _ask(target: Target, content: str) -> None:
    """Asks whether to delete.

    Raises:
        UsageError: The answer is not yes, or there is no terminal to ask at.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"study '{target.name}' has {content}; nothing was deleted\nhelp: add --yes to delete it")
    print(f"Delete study '{target.name}' ({content})? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was deleted")
