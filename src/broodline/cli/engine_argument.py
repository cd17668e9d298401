"""The argument that selects the engine of a run or a worker."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from broodline.cli.argument_types import engine_name

if TYPE_CHECKING:
    from broodline.config.study_file import StudyFile


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Adds `--engine`."""
    default = "default: [engine] kind of the study file, or local"
    parser.add_argument("--engine", metavar="NAME", type=engine_name, help=f"start workers with this engine ({default})")


def with_engine(file: StudyFile, name: str | None) -> StudyFile:
    """The study file with the engine that the command line names, if it names one."""
    from dataclasses import replace

    return file if name is None else replace(file, engine=replace(file.engine, kind=name))
