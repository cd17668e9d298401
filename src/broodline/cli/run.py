"""`broodline run`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from broodline.cli.argument_types import at_least_one
from broodline.cli.study_argument import add_target, file_of, target_of
from broodline.cli.summary import finished_before, tell_end
from broodline.studies.trainer import setup_of

if TYPE_CHECKING:
    from broodline.config.study_file import StudyFile

PURPOSE = "Run a study, or go on with it: starts workers, and ends when the budget is spent."
EXAMPLE = "broodline run study.toml --workers 4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser, by_name=False)
    parser.add_argument("--workers", metavar="W", type=at_least_one, help="worker processes (default: as the study file says)")


def main(arguments: argparse.Namespace) -> None:
    """Runs a study."""
    from broodline.studies.run import run_and_report

    target = target_of(arguments)
    file = file_of(target)
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
        report=partial(tell_end, target, json=arguments.json, before=before),
    )


def _warnings(file: StudyFile, workers: int) -> Iterator[str]:
    spares = workers - file.study.population
    if spares > 0:
        yield f"{workers} workers, but a population of {file.study.population}: {spares} can only wait (spares)"
    if file.study.stopping is not None and file.train is not None and file.train.metrics == "stdout":
        yield '[stopping] stops nothing here: metrics = "stdout" is read when a program ends; let it write to BROODLINE_METRICS'
