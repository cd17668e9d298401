"""`broodline schedule`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from broodline.cli.output import print_json
from broodline.cli.study_argument import target_of
from broodline.cli.trial_argument import add_choice, chosen_lineage

PURPOSE = "Show a learned hyperparameter schedule, or write it to a file."
EXAMPLE = "broodline schedule study.toml -o schedule.json"

_NOTATIONS = ("json", "toml", "csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_choice(parser)
    parser.add_argument("--format", choices=_NOTATIONS, help="the format to write (default: the suffix of FILE)")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write to FILE, for broodline.load_schedule")


def main(arguments: argparse.Namespace) -> None:
    """Shows or writes a schedule."""
    from broodline.config.schedule_file import notation_of, save_schedule
    from broodline.config.schedule_formats import write
    from broodline.core.schedule import schedule_of
    from broodline.reports.terminal.tables import print_whole, schedule_table, terminal_console

    path, notation = arguments.output, arguments.format
    if path is not None and notation is None:
        notation = notation_of(path)
    target = target_of(arguments)
    with target.records() as records:
        lineage = chosen_lineage(records, target, arguments.trial)
    schedule, number = schedule_of(lineage), lineage[0].number
    origin = {"study": target.name, "trial": number}
    if path is not None:
        save_schedule(schedule, path, notation=notation, origin=origin)
        _report_file(path.absolute(), origin, json=arguments.json)
    elif notation is not None:
        sys.stdout.write(write(schedule, notation, origin))
    elif arguments.json:
        print_json({**origin, **schedule.document()})
    else:
        print_whole(schedule_table(schedule), terminal_console())
        print(f"schedule of trial {number}, up to step {schedule.end}")


def _report_file(path: Path, origin: dict[str, object], *, json: bool) -> None:
    if json:
        print_json({"file": str(path), **origin})
    else:
        print(f"wrote the schedule of trial {origin['trial']} to {path}")
