"""`broodline status`."""

from __future__ import annotations

import argparse

from broodline.cli.output import print_blocks, print_json
from broodline.cli.study_argument import add_target, target_of
from broodline.cli.summary import overview_of

PURPOSE = "Show progress: budget used, running and failed trials, best so far."
EXAMPLE = "broodline status study.toml"

add_arguments = add_target


def main(arguments: argparse.Namespace) -> None:
    """Shows the progress of a study."""
    from broodline.reports.terminal.status import overview_panel

    target = target_of(arguments)
    overview = overview_of(target)
    if arguments.json:
        print_json(overview.document(target.files))
    else:
        print_blocks(overview_panel(overview))
