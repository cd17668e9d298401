"""`broodline replay`."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broodline.cli.argument_types import natural_number, positive_integer
from broodline.cli.output import print_blocks, print_json, print_line
from broodline.cli.study_argument import Target, add_target, file_of, target_of
from broodline.cli.summary import overview_of
from broodline.errors import StudyFailed, UsageError
from broodline.studies.trainer import setup_of

if TYPE_CHECKING:
    from broodline.config.study_file import StudyFile

PURPOSE = "Retrain the best (or any) lineage from scratch along its schedule, as a new study."
EXAMPLE = "broodline replay study.toml --with final.toml --copies 3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser, by_name=False)
    add = parser.add_argument
    add("--trial", metavar="N", type=natural_number, help="retrain the lineage of trial N (default: the best trial)")
    add("--with", metavar="OTHER.toml", dest="other", type=Path, help="take [train], [evaluate], ... from OTHER.toml")
    add("--only", metavar="NAMES", help="schedule only these params, such as lr,momentum; the others keep their first value")
    add("--set", metavar="NAME=VALUE", action="append", help="fix a param at VALUE for the whole replay; may be repeated")
    add("--copies", metavar="K", type=positive_integer, help="train K independent copies, such as an ensemble (default: 1)")
    add(
        "--seeds",
        choices=["recorded", "fresh"],
        help="recorded (default): the first copy repeats the seeds of the source; fresh: all seeds are new",
    )
    add("--seed", metavar="S", type=natural_number, help="derive new seeds from S")
    add("--name", metavar="NAME", help="name of the replay (default: STUDY-replay-N); the same name resumes it")
    add("--workers", metavar="W", type=positive_integer, help="start W worker processes (default: as the study file, at most K)")


def main(arguments: argparse.Namespace) -> None:
    """Starts a replay, or resumes one."""
    from broodline.studies.replay import ReplayOptions, replay_in, with_programs_of
    from broodline.studies.run import run_and_report

    source = target_of(arguments)
    file = _programs(file_of(source), arguments.other)
    options = ReplayOptions(
        trial=arguments.trial,
        name=arguments.name,
        copies=arguments.copies,
        only=None if arguments.only is None else [name.strip() for name in arguments.only.split(",") if name.strip()],
        fixed=None if arguments.set is None else dict(map(_setting, arguments.set)),
        seeds=arguments.seeds,
        seed=arguments.seed,
    )
    study = with_programs_of(replay_in(source.location, source.name, options), file.study)
    target = Target(name=study.name, location=source.location, file=None, store=source.location.url)
    workers = arguments.workers or min(file.study.workers, study.population)
    finished = run_and_report(
        study,
        location=target.location,
        setup=setup_of(file),
        workers=workers,
        show=not arguments.json,
        report=partial(_print_end, target, json=arguments.json),
    )
    if not finished:
        raise StudyFailed(f"replay '{study.name}': no copy came to the end of the lineage; `broodline trials` shows why")


def _programs(file: StudyFile, other: Path | None) -> StudyFile:
    """The study file, with the programs of `other` if there is one."""
    if other is None:
        return file
    from broodline.config.study_file import read_programs

    return read_programs(other, file.path)


def _setting(argument: str) -> tuple[str, Any]:
    """A pair from NAME=VALUE; a VALUE that is not JSON is a string."""
    import json

    name, equals, value = argument.partition("=")
    if not equals or not name:
        raise UsageError(f"--set: must be NAME=VALUE such as wd=0.1, got '{argument}'")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _print_end(target: Target, *, json: bool) -> bool:
    """Prints the summary of the replay and the comparison with its source.

    Returns:
        False if the replay is done, and no copy reached the end of the lineage.
    """
    from broodline.reports.replay_comparison import comparison, finals
    from broodline.reports.status import StudyStatus
    from broodline.reports.terminal.replay import comparison_table
    from broodline.reports.terminal.status import overview_panel

    overview = overview_of(target)
    with target.records() as records:
        trials = list(records.trials())
    reached_end, files = finals(overview.study, trials), target.files
    if json:
        checkpoints = [None if trial.checkpoint is None else str(files.path(trial.checkpoint)) for trial in reached_end]
        found = {"comparison": comparison(overview.study, trials), "checkpoints": checkpoints}
        print_json({**overview.document(files), **found})
    else:
        print_blocks(overview_panel(overview), "", comparison_table(overview.study, trials))
        for trial in reached_end:
            if trial.checkpoint is not None:
                print_line(f"checkpoint of copy {trial.member}  {files.path(trial.checkpoint)}")
        if overview.status in (StudyStatus.IDLE, StudyStatus.STOPPED, StudyStatus.STOPPING):
            print_line("\nto resume:  repeat the command")
    return bool(reached_end) or overview.status is not StudyStatus.DONE
