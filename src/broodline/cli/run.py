"""`broodline run`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from broodline.cli.argument_types import positive_integer
from broodline.cli.engine_argument import add_engine, with_engine
from broodline.cli.study_argument import add_target, file_of, target_of
from broodline.cli.summary import finished_before, print_end
from broodline.studies.trainer import setup_of

if TYPE_CHECKING:
    from broodline.config.study_file import StudyFile

PURPOSE = "Run or resume a study: start workers, and train until the budget is used up."
EXAMPLE = "broodline run study.toml --workers 4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser, by_name=False)
    default = "default: workers of the study file"
    parser.add_argument("--workers", metavar="W", type=positive_integer, help=f"start W worker processes ({default})")
    add_engine(parser)


def main(arguments: argparse.Namespace) -> None:
    """Runs a study."""
    from broodline.studies.run import run_and_report

    target = target_of(arguments)
    file = with_engine(file_of(target), arguments.engine)
    workers = arguments.workers or file.study.workers
    before = finished_before(target)
    for warning in _warnings(file, workers):
        print(f"broodline: warning: {warning}", file=sys.stderr)
    run_and_report(
        file.study,
        location=target.location,
        setup=setup_of(file),
        workers=workers,
        show=not arguments.json,
        report=partial(print_end, target, json=arguments.json, before=before),
    )


def _warnings(file: StudyFile, workers: int) -> Iterator[str]:
    spares = workers - file.study.population
    if spares > 0:
        yield f"{workers} workers for a population of {file.study.population}: {spares} will be idle; raise the population"
