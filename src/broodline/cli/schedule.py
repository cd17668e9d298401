"""`broodline schedule`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from broodline.cli.study_argument import target_of
from broodline.cli.trial_argument import add_choice, chosen_lineage

PURPOSE = "Show the learned schedule, or write it to a file: the params of a lineage, by training step."
EXAMPLE = "broodline schedule study.toml -o schedule.json"

_NOTATIONS = ("json", "toml", "csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_choice(parser)
    parser.add_argument("--format", choices=_NOTATIONS, help="how it is written (default: as the name after -o ends)")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write to a file, for broodline.load_schedule")


def main(arguments: argparse.Namespace) -> None:
    """Shows or writes a schedule."""
    from broodline.config.schedule_file import notation_of, save_schedule
    from broodline.config.schedule_formats import write
    from broodline.core.schedule import schedule_of
    from broodline.reports.records import to_json
    from broodline.reports.terminal.tables import console, print_whole
    from broodline.reports.terminal.tables import schedule as table_of

    path, notation = arguments.output, arguments.format
    if path is not None and notation is None:
        notation = notation_of(path)
    target = target_of(arguments)
    with target.records() as records:
        lineage = chosen_lineage(records, target, arguments.trial)
    schedule = schedule_of(lineage)
    origin = {"study": target.name, "trial": lineage[0].number}
    if path is not None:
        save_schedule(schedule, path, notation=notation, origin=origin)
        told = f"the schedule of trial {lineage[0].number} is written to {path.absolute()}"
        print(to_json({"file": str(path.absolute()), **origin}) if arguments.json else told)
    elif notation is not None:
        sys.stdout.write(write(schedule, notation, origin))
    elif arguments.json:
        print(to_json({**origin, **schedule.document()}))
    else:
        print_whole(table_of(schedule), console())
        print(f"up to step {schedule.end}, of trial {lineage[0].number}")
