"""`broodline best`."""

from __future__ import annotations

import argparse

from broodline.cli.argument_types import at_least_one
from broodline.cli.study_argument import Target, add_target, target_of
from broodline.cli.trial_argument import best_of

PURPOSE = "Show the best trial, or the Pareto front: its params, its metrics, and where its checkpoint is."
EXAMPLE = "broodline best study.toml --count 3"

_TIMES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser)
    parser.add_argument("--count", metavar="K", type=at_least_one, help="the K best (default: 1, or the whole Pareto front)")
    parser.add_argument(
        "--reevaluate", metavar="K", type=at_least_one, help="run [evaluate] of the K best again, with fresh seeds"
    )
    parser.add_argument("--times", metavar="R", type=at_least_one, default=_TIMES, help=f"how often each (default: {_TIMES})")


def main(arguments: argparse.Namespace) -> None:
    """Shows the best trials."""
    target = target_of(arguments)
    if arguments.reevaluate is None:
        _show(target, arguments.count, json=arguments.json)
    else:
        _reevaluate(target, arguments.reevaluate, arguments.times, json=arguments.json)


def _show(target: Target, count: int | None, *, json: bool) -> None:
    from broodline.config.study import study_from
    from broodline.reports.records import record, to_json
    from broodline.reports.terminal.tables import best as blocks_of
    from broodline.reports.terminal.tables import console

    with target.records() as records:
        study = study_from(records.definition())
        found = best_of(records, target, count)
    if not json:
        console().print(blocks_of(study, found, target.files))
    else:
        for trial in found:
            print(to_json(record(trial, target.files)))


def _reevaluate(target: Target, count: int, times: int, *, json: bool) -> None:
    from broodline.config.study import study_from
    from broodline.reports.records import record, to_json
    from broodline.reports.terminal.tables import console
    from broodline.reports.terminal.tables import reevaluated as table_of
    from broodline.studies.reevaluation import programs_of, reevaluated

    programs = programs_of(target.file)
    assert target.file is not None
    with target.records() as records:
        study = study_from(records.definition())
        found = best_of(records, target, count)
    again = reevaluated(study, found, files=target.files, programs=programs, cwd=target.file.folder, times=times)
    if json:
        for each in again:
            print(to_json({**record(each.trial, target.files), "reevaluated": each.document()}), flush=True)
    else:
        console().print(table_of(study, [(each.trial, each.mean, each.spread) for each in again]))
