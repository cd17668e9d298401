"""`broodline best`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from broodline.cli.argument_types import positive_integer
from broodline.cli.output import print_blocks, print_json, print_line
from broodline.cli.study_argument import Target, add_target, target_of
from broodline.cli.trial_argument import best_of
from broodline.errors import UsageError

if TYPE_CHECKING:
    from broodline.core.trial import Trial
    from broodline.storage.base import Transaction

PURPOSE = "Show the best trial, or the Pareto front: its hyperparameters, metrics and checkpoint."
EXAMPLE = "broodline best study.toml --count 3"

_TIMES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser)
    add = parser.add_argument
    add("--count", metavar="K", type=positive_integer, help="show the K best (default: 1, or the whole Pareto front)")
    add(
        "--reevaluate",
        metavar="K",
        type=positive_integer,
        help="evaluate the K best that have a checkpoint again, with fresh seeds: by [evaluate], or by a resident program",
    )
    add("--times", metavar="R", type=positive_integer, help=f"with --reevaluate: evaluate each R times (default: {_TIMES})")


def main(arguments: argparse.Namespace) -> None:
    """Shows the best trials."""
    _check_options(arguments)
    target = target_of(arguments)
    if arguments.reevaluate is None:
        _show(target, arguments.count, json=arguments.json)
    else:
        _reevaluate(target, arguments.reevaluate, arguments.times or _TIMES, json=arguments.json)


def _check_options(arguments: argparse.Namespace) -> None:
    """Refuses options that would have no effect.

    Raises:
        UsageError: There is one.
    """
    if arguments.reevaluate is not None and arguments.count is not None:
        raise UsageError("--count has no effect next to --reevaluate K, which names the number of trials")
    if arguments.reevaluate is None and arguments.times is not None:
        raise UsageError("--times has no effect without --reevaluate K")


def _show(target: Target, count: int | None, *, json: bool) -> None:
    from broodline.config.study import study_from
    from broodline.reports.records import record
    from broodline.reports.terminal.tables import best_blocks

    with target.records() as records:
        study = study_from(records.definition())
        found = best_of(records, target, count)
        equal = _equal(records, found)
    if not json:
        print_blocks(best_blocks(study, found, target.files))
        if equal > 1:
            print_line(f"{equal:,} trials have the best fitness; the most trained of them is best, then the latest")
    else:
        files = target.files
        for trial in found:
            print_json({**record(trial, files), "tied": equal} if trial is found[0] else record(trial, files))


def _equal(records: Transaction, found: Sequence[Trial]) -> int:
    """How many trials have the fitness of the best one; of a Pareto front none is the best, so 1."""
    fitness = found[0].fitness or ()
    return records.count_of_score(fitness[0]) if len(fitness) == 1 else 1


def _reevaluate(target: Target, count: int, times: int, *, json: bool) -> None:
    from broodline.config.study import study_from
    from broodline.reports.records import record
    from broodline.reports.terminal.tables import reevaluation_table
    from broodline.studies.reevaluation import evaluation_of, reevaluated, restorable

    with target.records() as records:
        study = study_from(records.definition())
        fittest = best_of(records, target, count)
        found = restorable(records, count)
    files = target.files
    with evaluation_of(target.file, study, files) as evaluate:
        _say_skipped(fittest, found)
        again = reevaluated(study, found, files=files, evaluate=evaluate, times=times)
        if json:
            for each in again:
                print_json({**record(each.trial, files), "reevaluated": each.document()})
        else:
            print_blocks(reevaluation_table(study, [(each.trial, each.mean, each.spread) for each in again]))


def _say_skipped(fittest: Sequence[Trial], found: Sequence[Trial]) -> None:
    chosen = {trial.number for trial in found}
    skipped = [str(trial.number) for trial in fittest if trial.number not in chosen]
    if skipped:
        print(
            f"broodline: of the {len(fittest)} best trials, {', '.join(skipped)} have lost their checkpoints: the best trials "
            "that have one are evaluated; to keep more, set [checkpoints] keep_best",
            file=sys.stderr,
        )
