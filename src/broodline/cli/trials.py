"""`broodline trials`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from broodline.cli.argument_types import positive_integer
from broodline.cli.output import print_json
from broodline.cli.study_argument import add_target, target_of
from broodline.core.trial import Trial, TrialState

if TYPE_CHECKING:
    from broodline.storage.base import Transaction

PURPOSE = "List the trials of a study by number. With --json, print one JSON object a line."
EXAMPLE = "broodline trials study.toml --state failed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser)
    parser.add_argument("--state", choices=[state.value for state in TrialState], help="list only the trials in this state")
    parser.add_argument("--last", metavar="K", type=positive_integer, help="list only the last K trials")


def main(arguments: argparse.Namespace) -> None:
    """Lists trials."""
    from broodline.config.study import study_from
    from broodline.reports.records import record
    from broodline.reports.terminal.tables import print_folded, terminal_console, trials_table

    target = target_of(arguments)
    state = None if arguments.state is None else TrialState(arguments.state)
    with target.records() as records:
        listed = _listed(records, state, arguments.last)
        if not arguments.json:
            print_folded(trials_table(study_from(records.definition()), listed), terminal_console())
        else:
            files = target.files
            for trial in listed:
                print_json(record(trial, files))


def _listed(records: Transaction, state: TrialState | None, last: int | None) -> Iterator[Trial]:
    after = -1 if last is None else records.progress().trials - last - 1
    return (trial for trial in records.trials(after=after) if state is None or trial.state is state)
