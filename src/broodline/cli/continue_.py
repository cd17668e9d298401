"""`broodline continue`."""

from __future__ import annotations

import argparse
import shlex
from functools import partial
from typing import TYPE_CHECKING

from broodline.cli.argument_types import positive_integer
from broodline.cli.study_argument import Target, file_of, target_of
from broodline.cli.summary import finished_before, print_end
from broodline.cli.trial_argument import add_choice, chosen_lineage
from broodline.errors import StudyChanged
from broodline.studies.trainer import setup_of

if TYPE_CHECKING:
    from broodline.config.study_file import StudyFile
    from broodline.core.trial import Trial

PURPOSE = "Continue training the best checkpoint with fixed hyperparameters, as a new single-member study."
EXAMPLE = "broodline continue study.toml --steps 40000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_choice(parser)
    add = parser.add_argument
    add("--steps", metavar="S", type=positive_integer, required=True, help="train S more steps")
    add("--trial-steps", metavar="K", type=positive_integer, help="train in trials of K steps (default: as the study)")
    add("--name", metavar="NAME", help="name of the new study (default: STUDY-continued); the same name resumes it")


def main(arguments: argparse.Namespace) -> None:
    """Starts a continuation, or resumes one."""
    from broodline.config.study import dump, parse
    from broodline.studies.continuation import continuation_of, copy_lineage, start_step
    from broodline.studies.run import run_and_report

    source = target_of(arguments)
    file = file_of(source)
    setup = setup_of(file)
    number = arguments.trial
    name = arguments.name or f"{source.name}-continued" + ("" if number is None else f"-{number}")
    started = start_step(source.location, name)
    lineage = _lineage(source, file, number) if started is None else ()
    target = Target(name=name, location=source.location, file=None, store=source.location.url)
    if started is not None and number is not None:
        _check_started_from(target, source, number)
    study = continuation_of(
        file.study,
        name,
        start=lineage[0].end if started is None else started,
        steps=arguments.steps,
        trial_steps=arguments.trial_steps,
    )
    parse(dump(study), "broodline continue")  # checks --name
    before = finished_before(target)
    run_and_report(
        study,
        location=source.location,
        setup=setup,
        workers=1,
        show=not arguments.json,
        initialise=partial(copy_lineage, name=study.name, lineage=lineage, source=source.files) if lineage else None,
        report=partial(print_end, target, json=arguments.json, before=before, again=_command_line(arguments)),
    )


def _command_line(arguments: argparse.Namespace) -> str:
    """The command as it was typed: repeated, it resumes the continuation."""
    options = ("store", "files", "trial", "steps", "trial_steps", "name")
    given = [(name, str(value)) for name in options if (value := getattr(arguments, name)) is not None]
    words = [word for name, value in given for word in (f"--{name.replace('_', '-')}", value)]
    return shlex.join(["broodline", "continue", arguments.study, *words])


def _lineage(source: Target, file: StudyFile, number: int | None) -> tuple[Trial, ...]:
    from broodline.controller.controller import check_same
    from broodline.studies.continuation import check_has_checkpoint

    with source.records() as records:
        check_same(records, file.study)
        lineage = chosen_lineage(records, source, number)
    check_has_checkpoint(lineage[0])
    return lineage


def _check_started_from(target: Target, source: Target, number: int) -> None:
    """Refuses to resume a continuation that started from another trial than `number`."""
    with source.records() as records:
        asked = chosen_lineage(records, source, number)[0]
    with target.records() as records:
        copied = [trial for trial in records.trials() if trial.is_copy][-1]
    if (copied.seed, copied.params, copied.end) != (asked.seed, asked.params, asked.end):
        raise StudyChanged(f"study '{target.name}' continues another trial than {number}\nhelp: choose another name with --name")
