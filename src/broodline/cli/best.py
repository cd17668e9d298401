"""`broodline best`."""

from __future__ import annotations

import argparse

from broodline.cli.chosen import best_of
from broodline.cli.target import add_target, target_of
from broodline.cli.values import at_least_one

PURPOSE = "Show the best trial, or the Pareto front: its params, its metrics, and where its checkpoint is."
EXAMPLE = "broodline best study.toml --count 3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser)
    parser.add_argument("--count", metavar="K", type=at_least_one, help="the K best (default: 1, or the whole Pareto front)")


def main(arguments: argparse.Namespace) -> None:
    """Shows the best trials."""
    from broodline.controller import study_from
    from broodline.views.records import record, to_json
    from broodline.views.tables import best as blocks_of
    from broodline.views.tables import console

    target = target_of(arguments)
    with target.records() as records:
        study = study_from(records.definition())
        found = best_of(records, target, arguments.count)
    if not arguments.json:
        console().print(blocks_of(study, found, target.files))
    else:
        for trial in found:
            print(to_json(record(trial, target.files)))
