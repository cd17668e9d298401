"""`broodline status`."""

from __future__ import annotations

import argparse

from broodline.cli.study_argument import add_target, target_of

PURPOSE = "Show how a study stands: what is spent, what runs, what failed, what is best so far."
EXAMPLE = "broodline status study.toml"

add_arguments = add_target


def main(arguments: argparse.Namespace) -> None:
    """Shows how a study stands."""
    from broodline.reports.records import to_json
    from broodline.reports.status import read
    from broodline.reports.terminal import status as panels
    from broodline.reports.terminal.tables import console

    target = target_of(arguments)
    with target.records() as records:
        view = read(records)
    if arguments.json:
        print(to_json(view.document(target.files)))
    else:
        console().print(panels.overview(view))
