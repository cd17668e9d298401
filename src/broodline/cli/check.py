"""`broodline check`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from broodline.cli.argument_types import duration, positive_integer
from broodline.cli.output import print_blocks, print_json, print_line
from broodline.cli.study_argument import add_target, file_of, target_of
from broodline.core.text import printable
from broodline.errors import StudyFailed
from broodline.studies.trainer import setup_of

if TYPE_CHECKING:
    from broodline.studies.check_findings import Finding

PURPOSE = "Smoke-test the training program: train, save, restore, evaluate. Creates no study. Exit status 0: it passed."
EXAMPLE = "broodline check study.toml --steps 20"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser, by_name=False, stored=False)
    add = parser.add_argument
    add("--steps", metavar="N", type=positive_integer, help="steps of each run (default: trial_steps of the study file)")
    add("--time", metavar="T", type=duration, help="end the check after T, such as 30m (default: 10m)")


def main(arguments: argparse.Namespace) -> None:
    """Tests the program, and prints each finding at once."""
    from broodline.studies.check import SECONDS, check, plan
    from broodline.studies.check_findings import Verdict, conclusion, verdict_of

    file = file_of(target_of(arguments))
    setup, seconds, found = setup_of(file), arguments.time or SECONDS, []
    _progress(plan(file.study, steps=arguments.steps, seconds=seconds))
    for finding in check(file.study, setup, steps=arguments.steps, seconds=seconds, progress=_progress):
        found.append(finding)
        if arguments.json:
            print_json({"verdict": finding.verdict, "text": finding.text, "output": finding.output})
        else:
            _show(finding)
    passed = verdict_of(found) is Verdict.GOOD
    if arguments.json:
        print_json({"verdict": "passed" if passed else "not passed", "text": conclusion(found), "output": ""})
    else:
        print_line(conclusion(found))
    if not passed:
        raise StudyFailed(f"{file.path}: the program did not pass the check; {conclusion(found).partition(': ')[2]}")


def _progress(line: str) -> None:
    """Standard output holds the findings alone."""
    print(line, file=sys.stderr, flush=True)


def _show(finding: Finding) -> None:
    from rich.text import Text

    from broodline.studies.check_findings import Verdict

    styles = {Verdict.GOOD: "green", Verdict.BAD: "bold red", Verdict.UNKNOWN: "yellow"}
    print_blocks(Text.assemble((f"{finding.verdict:>7}", styles[finding.verdict]), f"  {printable(finding.text)}"))
    if finding.output:
        print_blocks(Text(printable(finding.output), "dim"))
