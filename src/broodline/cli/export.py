"""`broodline export`."""

from __future__ import annotations

import argparse
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
    """Writes the lines of a document into FILE, all of them or none."""
    from broodline.storage.disk import write_whole

    if path.is_dir():
        raise UsageError(f"{path}: is a directory\nhelp: name a file with -o")
    try:
        write_whole(path, (f"{line}\n".encode() for line in lines))
    except OSError as error:
        raise UsageError(f"{path}: can't be written: {error.strerror}\nhelp: name another file with -o") from error
