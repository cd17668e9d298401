"""`broodline trials`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from broodline.cli.argument_types import at_least_one
from broodline.cli.study_argument import add_target, target_of
from broodline.core.trial import Trial, TrialState

if TYPE_CHECKING:
    from broodline.storage.base import Transaction

PURPOSE = "List the trials of a study, in order of number; with --json one JSON object a line."
EXAMPLE = "broodline trials study.toml --state failed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser)
    parser.add_argument("--state", choices=[state.value for state in TrialState], help="only the trials in this state")
    parser.add_argument("--last", metavar="K", type=at_least_one, help="only the last K trials")


def main(arguments: argparse.Namespace) -> None:
    """Lists trials."""
    from broodline.config.study import study_from
    from broodline.reports.records import record, to_json
    from broodline.reports.terminal.tables import console, print_folded
    from broodline.reports.terminal.tables import trials as table_of

    target = target_of(arguments)
    files = target.files
    with target.records() as records:
        listed = _listed(records, arguments.state, arguments.last)
        if not arguments.json:
            print_folded(table_of(study_from(records.definition()), listed), console())
        else:
            for trial in listed:
                print(to_json(record(trial, files)))


def _listed(records: Transaction, state: str | None, last: int | None) -> Iterator[Trial]:
    after = -1 if last is None else records.progress().trials - last - 1
    return (trial for trial in records.trials(after=after) if state in (None, trial.state))
