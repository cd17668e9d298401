"""`broodline replay`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broodline.cli.argument_types import at_least_one, trial_number
from broodline.cli.study_argument import Target, add_target, file_of, target_of
from broodline.cli.summary import overview_of
from broodline.errors import StudyFailed, UsageError, WorkerError
from broodline.studies.trainer import grace_of, trainer_of

if TYPE_CHECKING:
    from broodline.config.study_file import StudyFile
    from broodline.core.study import StudyConfig

PURPOSE = "Train the best lineage, or any trial's, again along its schedule: a study of its own, which can be gone on with."
EXAMPLE = "broodline replay study.toml --with final.toml --copies 3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser, by_name=False)
    add = parser.add_argument
    add("--trial", metavar="N", type=trial_number, help="the lineage of trial N (default: of the best trial)")
    add("--with", metavar="OTHER.toml", dest="other", type=Path, help="take [train], [evaluate], ... from another file")
    add(
        "--only",
        metavar="NAMES",
        help="the params that follow the schedule, such as lr,momentum; the others stay as at its start",
    )
    add("--set", metavar="NAME=VALUE", action="append", help="give a param this value all along; may be repeated")
    add("--copies", metavar="K", type=at_least_one, help="train it K times, each for itself: an ensemble (default: 1)")
    add("--seeds", choices=["recorded", "fresh"], help="recorded (default): the first copy has the seeds of the source")
    add("--seed", metavar="S", type=trial_number, help="fresh seeds follow from it")
    add("--name", metavar="NAME", help="of the replay (default: STUDY-replay-N); the same name goes on with it")
    add("--workers", metavar="W", type=at_least_one, help="worker processes (default: as the study file says, at most K)")


def main(arguments: argparse.Namespace) -> None:
    """Makes a replay, or goes on with it."""
    from broodline.studies.replay import ReplayOptions, replay_in, with_programs_of

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
    try:
        _run(target, study, file, workers=workers, json=arguments.json)
    except (KeyboardInterrupt, StudyFailed, WorkerError):
        _tell(target, json=arguments.json)
        raise
    if not _tell(target, json=arguments.json):
        raise StudyFailed(f"replay '{study.name}': no copy came to the end of the lineage; `broodline trials` shows why")


def _run(target: Target, study: StudyConfig, file: StudyFile, *, workers: int, json: bool) -> None:
    from broodline.reports.terminal.live import quiet, watching
    from broodline.studies.run import run

    run(
        study,
        location=target.location,
        trainer=trainer_of(file),
        workers=workers,
        options=file.engine,
        watch_of=quiet if json else watching(target.name, workers=workers),
        grace=grace_of(file),
    )


def _programs(file: StudyFile, other: Path | None) -> StudyFile:
    """The study file, its programs taken from another one, if one is named."""
    if other is None:
        return file
    from broodline.config.study_file import read_programs

    return read_programs(other, file.path)


def _setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE; a value that is no JSON is a text."""
    import json

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--set takes NAME=VALUE, such as --set wd=0.1, not '{text}'")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _tell(target: Target, *, json: bool) -> bool:
    """Prints how the replay ended, and how it compares with its source; returns whether a copy came to the end, or still may."""
    from broodline.reports.records import to_json
    from broodline.reports.replay_comparison import comparison, finals
    from broodline.reports.status import StudyStatus
    from broodline.reports.terminal import status as panels
    from broodline.reports.terminal.replay import comparison_table
    from broodline.reports.terminal.tables import console

    view = overview_of(target)
    with target.records() as records:
        trials = list(records.trials())
    ended = finals(view.study, trials)
    if json:
        checkpoints = [None if trial.checkpoint is None else str(target.files.path(trial.checkpoint)) for trial in ended]
        document = {**view.document(target.files), "comparison": comparison(view.study, trials), "checkpoints": checkpoints}
        print(to_json(document), flush=True)
    else:
        printer = console()
        printer.print(panels.overview(view), "", comparison_table(view.study, trials))
        for trial in ended:
            if trial.checkpoint is not None:
                printer.print(f"checkpoint of copy {trial.member}  {target.files.path(trial.checkpoint)}", soft_wrap=True)
        if view.status in (StudyStatus.IDLE, StudyStatus.STOPPED, StudyStatus.STOPPING):
            printer.print("\nthe same command goes on with it")
    return bool(ended) or view.status is not StudyStatus.DONE
