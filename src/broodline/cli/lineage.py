"""`broodline lineage`."""

from __future__ import annotations

import argparse

from broodline.cli.study_argument import target_of
from broodline.cli.trial_argument import add_choice, chosen_lineage

PURPOSE = "Show where a trial comes from: itself, its parent, its parent's parent, back to generation 0."
EXAMPLE = "broodline lineage study.toml --trial 42"

add_arguments = add_choice


def main(arguments: argparse.Namespace) -> None:
    """Shows a lineage."""
    from broodline.config.study import study_from
    from broodline.reports.records import record, to_json
    from broodline.reports.terminal.tables import console, print_folded
    from broodline.reports.terminal.tables import lineage as table_of

    target = target_of(arguments)
    with target.records() as records:
        study = study_from(records.definition())
        lineage = chosen_lineage(records, target, arguments.trial)
    if not arguments.json:
        print_folded(table_of(study, lineage), console())
    else:
        for trial in lineage:
            print(to_json(record(trial, target.files)))
