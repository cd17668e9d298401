"""`broodline run`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from broodline.cli.argument_types import at_least_one
from broodline.cli.study_argument import Target, add_target, file_of, target_of
from broodline.cli.summary import finished_before, tell_end
from broodline.errors import StudyFailed, WorkerError
from broodline.studies.trainer import grace_of, trainer_of

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
    target = target_of(arguments)
    file = file_of(target)
    workers = arguments.workers or file.study.workers
    before = finished_before(target)
    for warning in _warnings(file, workers):
        print(f"broodline: warning: {warning}", file=sys.stderr)
    try:
        _run(target, file, workers=workers, json=arguments.json)
    except (KeyboardInterrupt, StudyFailed, WorkerError):
        tell_end(target, json=arguments.json)
        raise
    tell_end(target, json=arguments.json, before=before)


def _run(target: Target, file: StudyFile, *, workers: int, json: bool) -> None:
    from broodline.reports.terminal.live import quiet, watching
    from broodline.studies.run import run

    run(
        file.study,
        location=target.location,
        trainer=trainer_of(file),
        workers=workers,
        options=file.engine,
        watch_of=quiet if json else watching(target.name, workers=workers),
        grace=grace_of(file),
    )


def _warnings(file: StudyFile, workers: int) -> Iterator[str]:
    spares = workers - file.study.population
    if spares > 0:
        yield f"{workers} workers, but a population of {file.study.population}: {spares} can only wait (spares)"
    if file.study.stopping is not None and file.train is not None and file.train.metrics == "stdout":
        yield '[stopping] stops nothing here: metrics = "stdout" is read when a program ends; let it write to BROODLINE_METRICS'
