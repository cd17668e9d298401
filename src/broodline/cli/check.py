"""`broodline check`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from broodline.cli.output import print_blocks, print_json
from broodline.cli.study_argument import add_target, file_of, target_of
from broodline.core.text import printable
from broodline.errors import StudyFailed
from broodline.studies.trainer import trainer_of

if TYPE_CHECKING:
    from broodline.config.study_file import StudyFile
    from broodline.studies.check import Finding

PURPOSE = "Smoke-test the training program: train, save, restore, evaluate. Creates no study."
EXAMPLE = "broodline check study.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser, by_name=False, stored=False)


def main(arguments: argparse.Namespace) -> None:
    """Tests the program, and prints each finding at once."""
    from broodline.studies.check import Verdict

    file = file_of(target_of(arguments))
    bad = 0
    for finding in _findings(file):
        bad += finding.verdict is Verdict.BAD
        if arguments.json:
            print_json({"verdict": finding.verdict, "text": finding.text, "output": finding.output})
        else:
            _show(finding)
    if bad:
        raise StudyFailed(f"{file.path}: the program is not ready to run; fix the findings marked 'bad' above")


def _findings(file: StudyFile) -> Iterator[Finding]:
    from broodline.studies.check import check

    with closing(trainer_of(file)()) as trainer:
        yield from check(file.study, trainer)


def _show(finding: Finding) -> None:
    from rich.text import Text

    from broodline.studies.check import Verdict

    styles = {Verdict.GOOD: "green", Verdict.BAD: "bold red", Verdict.UNKNOWN: "yellow"}
    print_blocks(Text.assemble((f"{finding.verdict:>7}", styles[finding.verdict]), f"  {printable(finding.text)}"))
    if finding.output:
        print_blocks(Text(printable(finding.output), "dim"))
