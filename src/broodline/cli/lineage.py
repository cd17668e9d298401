"""`broodline lineage`."""

from __future__ import annotations

import argparse

from broodline.cli.output import print_json
from broodline.cli.study_argument import target_of
from broodline.cli.trial_argument import add_choice, chosen_lineage

PURPOSE = "Show the ancestors of a trial, back to generation 0, and how its hyperparameters changed."
EXAMPLE = "broodline lineage study.toml --trial 42"

add_arguments = add_choice


def main(arguments: argparse.Namespace) -> None:
    """Shows a lineage."""
    from broodline.config.study import study_from
    from broodline.reports.records import record
    from broodline.reports.terminal.tables import lineage_table, print_folded, terminal_console

    target = target_of(arguments)
    with target.records() as records:
        study = study_from(records.definition())
        lineage = chosen_lineage(records, target, arguments.trial)
    if not arguments.json:
        print_folded(lineage_table(study, lineage), terminal_console())
    else:
        for trial in lineage:
            print_json(record(trial, target.files))
