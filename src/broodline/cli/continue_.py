"""`broodline continue`."""

from __future__ import annotations

import argparse
import shlex
from functools import partial
from typing import TYPE_CHECKING

from broodline.cli.argument_types import at_least_one
from broodline.cli.study_argument import Target, file_of, target_of
from broodline.cli.summary import finished_before, tell_end
from broodline.cli.trial_argument import add_choice, chosen_lineage
from broodline.errors import StudyChanged, StudyFailed, WorkerError
from broodline.studies.trainer import grace_of, trainer_of

if TYPE_CHECKING:
    from broodline.config.study_file import StudyFile
    from broodline.core.study import StudyConfig
    from broodline.core.trial import Trial

PURPOSE = "Go on alone: train on from the best trial's checkpoint with its params, by one worker, as a study of its own."
EXAMPLE = "broodline continue study.toml --steps 40000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_choice(parser)
    parser.add_argument("--steps", metavar="S", type=at_least_one, required=True, help="train S steps more")
    parser.add_argument("--trial-steps", metavar="K", type=at_least_one, help="in trials of K steps (default: as the study)")
    parser.add_argument("--name", help="the name of the new study (default: that of the study, with -continued)")


def main(arguments: argparse.Namespace) -> None:
    """Goes on alone, or goes on with that."""
    from broodline.config.study import dump, parse
    from broodline.studies.continuation import begun_at, continuation_of

    source = target_of(arguments)
    file = file_of(source)
    trainer_of(file)
    number = arguments.trial
    name = arguments.name or f"{source.name}-continued" + ("" if number is None else f"-{number}")
    begun = begun_at(source.location, name)
    lineage = _lineage(source, file, number) if begun is None else ()
    target = Target(name=name, location=source.location, file=None, store=source.location.url)
    if begun is not None and number is not None:
        _check_begun_from(target, source, number)
    study = continuation_of(
        file.study,
        name,
        begun_at=lineage[0].end if begun is None else begun,
        steps=arguments.steps,
        trial_steps=arguments.trial_steps,
    )
    parse(dump(study), "broodline continue")  # the name may be none
    before = finished_before(target)
    again = shlex.join(["broodline", "continue", arguments.study, "--steps", str(arguments.steps)])
    tell = partial(tell_end, target, json=arguments.json, again=f"{again} ...")
    try:
        _run(source, file, study, lineage, json=arguments.json)
    except (KeyboardInterrupt, StudyFailed, WorkerError):
        tell()
        raise
    tell(before=before)


def _lineage(source: Target, file: StudyFile, number: int | None) -> tuple[Trial, ...]:
    from broodline.controller.controller import check_same
    from broodline.studies.continuation import check_has_checkpoint

    with source.records() as records:
        check_same(records, file.study)
        lineage = chosen_lineage(records, source, number)
    check_has_checkpoint(lineage[0])
    return lineage


def _check_begun_from(target: Target, source: Target, number: int) -> None:
    """Refuses to go on with what began with another trial than the one that is asked for."""
    with source.records() as records:
        asked = chosen_lineage(records, source, number)[0]
    with target.records() as records:
        copied = [trial for trial in records.trials() if trial.is_copy][-1]
    if (copied.seed, copied.params, copied.end) != (asked.seed, asked.params, asked.end):
        raise StudyChanged(f"study '{target.name}' went on from another trial than {number}; take another --name")


def _run(source: Target, file: StudyFile, study: StudyConfig, lineage: tuple[Trial, ...], *, json: bool) -> None:
    from broodline.reports.terminal.live import quiet, watching
    from broodline.studies.continuation import copy_lineage
    from broodline.studies.run import run

    run(
        study,
        location=source.location,
        trainer=trainer_of(file),
        workers=1,
        options=file.engine,
        watch_of=quiet if json else watching(study.name, workers=1),
        grace=grace_of(file),
        begin=partial(copy_lineage, name=study.name, lineage=lineage, source=source.files) if lineage else None,
    )
