"""`broodline best`."""

from __future__ import annotations

import argparse

from broodline.cli.argument_types import positive_integer
from broodline.cli.output import print_blocks, print_json
from broodline.cli.study_argument import Target, add_target, target_of
from broodline.cli.trial_argument import best_of

PURPOSE = "Show the best trial, or the Pareto front: its hyperparameters, metrics and checkpoint."
EXAMPLE = "broodline best study.toml --count 3"

_TIMES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser)
    add = parser.add_argument
    add("--count", metavar="K", type=positive_integer, help="show the K best (default: 1, or the whole Pareto front)")
    add("--reevaluate", metavar="K", type=positive_integer, help="run [evaluate] again on the K best, with fresh seeds")
    add("--times", metavar="R", type=positive_integer, default=_TIMES, help=f"reevaluate each R times (default: {_TIMES})")


def main(arguments: argparse.Namespace) -> None:
    """Shows the best trials."""
    target = target_of(arguments)
    if arguments.reevaluate is None:
        _show(target, arguments.count, json=arguments.json)
    else:
        _reevaluate(target, arguments.reevaluate, arguments.times, json=arguments.json)


def _show(target: Target, count: int | None, *, json: bool) -> None:
    from broodline.config.study import study_from
    from broodline.reports.records import record
    from broodline.reports.terminal.tables import best_blocks

    with target.records() as records:
        study = study_from(records.definition())
        found = best_of(records, target, count)
    if not json:
        print_blocks(best_blocks(study, found, target.files))
    else:
        files = target.files
        for trial in found:
            print_json(record(trial, files))


def _reevaluate(target: Target, count: int, times: int, *, json: bool) -> None:
    from broodline.config.study import study_from
    from broodline.reports.records import record
    from broodline.reports.terminal.tables import reevaluation_table
    from broodline.studies.reevaluation import programs_of, reevaluated

    programs = programs_of(target.file)
    assert target.file is not None
    with target.records() as records:
        study = study_from(records.definition())
        found = best_of(records, target, count)
    files = target.files
    again = reevaluated(study, found, files=files, programs=programs, cwd=target.file.folder, times=times)
    if json:
        for each in again:
            print_json({**record(each.trial, files), "reevaluated": each.document()})
    else:
        print_blocks(reevaluation_table(study, [(each.trial, each.mean, each.spread) for each in again]))
