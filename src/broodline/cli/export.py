"""`broodline export`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from broodline.cli.study_argument import add_target, target_of
from broodline.errors import UsageError

PURPOSE = "Write all of a study, its definition, its trials and what they measured, as one JSON document."
EXAMPLE = "broodline export study.toml -o digits.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser)
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write to a file (default: to standard output)")


def main(arguments: argparse.Namespace) -> None:
    """Writes a study as JSON; it is JSON with and without `--json`."""
    from broodline.reports.export import whole_study
    from broodline.reports.records import to_json

    target = target_of(arguments)
    with target.records() as records:
        pieces = whole_study(records, target.files)
        if arguments.output is None:
            for piece in pieces:
                print(piece)
            return
        _write(arguments.output, pieces)
    path = arguments.output.absolute()
    print(to_json({"file": str(path)}) if arguments.json else f"study '{target.name}' is written to {path}")


def _write(path: Path, pieces: Iterable[str]) -> None:
    """Writes beside the file first, so that it never holds half of a document."""
    if path.is_dir():
        raise UsageError(f"{path}: is a directory; name a file with -o")
    partial_file = path.with_name(path.name + ".partial")
    try:
        with partial_file.open("w", encoding="utf-8") as file:
            file.writelines(f"{piece}\n" for piece in pieces)
        os.replace(partial_file, path)
    except OSError as error:
        partial_file.unlink(missing_ok=True)
        raise UsageError(f"{path}: can't be written: {error.strerror}; name another file with -o") from error
