"""`broodline export`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from broodline.cli.output import print_json
from broodline.cli.study_argument import add_target, target_of
from broodline.errors import UsageError

PURPOSE = "Export a study as one JSON document: its definition, all trials and their measurements."
EXAMPLE = "broodline export study.toml -o digits.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser)
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write to FILE (default: standard output)")


def main(arguments: argparse.Namespace) -> None:
    """Writes a study as JSON; the document is the same with and without `--json`."""
    from broodline.reports.export import whole_study

    target = target_of(arguments)
    with target.records() as records:
        lines = whole_study(records, target.files)
        if arguments.output is None:
            for line in lines:
                print(line)
            return
        _write(arguments.output, lines)
    path = arguments.output.absolute()
    if arguments.json:
        print_json({"file": str(path)})
    else:
        print(f"wrote study '{target.name}' to {path}")


def _write(path: Path, lines: Iterable[str]) -> None:
    """Writes to a second file and renames it, so that FILE never holds half a document."""
    if path.is_dir():
        raise UsageError(f"{path}: is a directory; name a file with -o")
    partial_file = path.with_name(path.name + ".partial")
    try:
        with partial_file.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
        os.replace(partial_file, path)
    except OSError as error:
        partial_file.unlink(missing_ok=True)
        raise UsageError(f"{path}: can't be written: {error.strerror}; name another file with -o") from error
