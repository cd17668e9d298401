"""`broodline schedule`."""

from __future__ import annotations

import argparse

from broodline.cli.chosen import add_choice, chosen_lineage
from broodline.cli.target import target_of

PURPOSE = "Show the learned schedule: the params of a lineage, by training step."
EXAMPLE = "broodline schedule study.toml --json > schedule.json"

add_arguments = add_choice


def main(arguments: argparse.Namespace) -> None:
    """Shows a schedule."""
    from broodline.schedule import schedule_of
    from broodline.views.records import to_json
    from broodline.views.tables import console
    from broodline.views.tables import schedule as table_of

    target = target_of(arguments)
    with target.records() as records:
        lineage = chosen_lineage(records, target, arguments.trial)
    schedule = schedule_of(lineage)
    if arguments.json:
        print(to_json({"study": target.name, "trial": lineage[0].number, **schedule.document()}))
    else:
        console().print(table_of(schedule), f"up to step {schedule.end}, of trial {lineage[0].number}", sep="")
