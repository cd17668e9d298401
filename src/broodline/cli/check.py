"""`broodline check`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from broodline.cli.study_argument import add_target, file_of, target_of
from broodline.errors import StudyFailed
from broodline.studies.trainer import trainer_of

if TYPE_CHECKING:
    from broodline.config.study_file import StudyFile
    from broodline.studies.check import Finding

PURPOSE = "Try a study's program before hours are spent on it: train, save, restore, evaluate; no study is created."
EXAMPLE = "broodline check study.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser, by_name=False, stored=False)


def main(arguments: argparse.Namespace) -> None:
    """Tries a program, and tells what it finds as it finds it."""
    from broodline.reports.records import to_json
    from broodline.studies.check import Verdict

    file = file_of(target_of(arguments))
    bad = 0
    for finding in _findings(file):
        bad += finding.verdict is Verdict.BAD
        if arguments.json:
            print(to_json({"verdict": finding.verdict, "text": finding.text, "output": finding.output}), flush=True)
        else:
            _show(finding)
    if bad:
        raise StudyFailed(f"{file.path}: the program is not fit to be run yet: see what is bad above")


def _findings(file: StudyFile) -> Iterator[Finding]:
    from broodline.studies.check import check

    with closing(trainer_of(file)()) as trainer:
        yield from check(file.study, trainer)


def _show(finding: Finding) -> None:
    from rich.text import Text

    from broodline.reports.terminal.tables import console
    from broodline.studies.check import Verdict

    styles = {Verdict.GOOD: "green", Verdict.BAD: "bold red", Verdict.UNKNOWN: "yellow"}
    printer = console()
    printer.print(Text.assemble((f"{finding.verdict:>7}", styles[finding.verdict]), f"  {finding.text}"))
    if finding.output:
        printer.print(finding.output, style="dim")
