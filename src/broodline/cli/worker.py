"""`broodline worker`."""

from __future__ import annotations

import argparse
import os
import socket
from contextlib import closing
from typing import TYPE_CHECKING

from broodline.cli.study_argument import Target, add_target, file_of, target_of
from broodline.cli.summary import tell_end
from broodline.studies.trainer import grace_of, trainer_of

if TYPE_CHECKING:
    from broodline.config.study_file import StudyFile
    from broodline.core.study import StudyConfig

PURPOSE = "Join a study that exists with one more worker, from any process; what it runs comes from its own study file."
EXAMPLE = "broodline worker study.toml --store sqlite:////data/broodline.db"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser, by_name=False)
    parser.add_argument("--replay", metavar="NAME", help="join the replay of that name instead of the study")


def main(arguments: argparse.Namespace) -> None:
    """Works until the study is done."""
    from dataclasses import replace

    target = target_of(arguments)
    file = file_of(target)
    if arguments.replay is not None:
        file = replace(file, study=_replay_of(target, arguments.replay))
        target = Target(name=arguments.replay, location=target.location, file=None, store=target.location.url)
    _work(target, file, json=arguments.json)
    tell_end(target, json=arguments.json)


def _work(target: Target, file: StudyFile, *, json: bool) -> None:
    from broodline.controller.controller import Controller, check_same
    from broodline.reports.terminal.live import quiet, watching
    from broodline.reports.terminal.log_lines import log_shown_by
    from broodline.studies.engine import engine_for, job_for
    from broodline.studies.run import attend, calls_back, interruptible, raise_if_failed

    trainer = trainer_of(file)
    job = job_for(file.study, target.location, trainer)
    name = f"{socket.gethostname()}-{os.getpid()}"
    with closing(target.location.open(create=False)) as store, interruptible():
        with store.transaction(target.name) as records:  # it will write: where it can't, that is told before a process is started
            check_same(records, file.study)
        with (quiet if json else watching(target.name))(store) as watch, log_shown_by(watch.say):
            client = Controller(store)
            engine = engine_for(file.study, job, cwd=trainer.cwd, client=client, options=file.engine, name=lambda _place: name)
            attend(engine, 1, watch=watch, grace=grace_of(file), called_back=calls_back(store, target.name))
        raise_if_failed(store, target.name)


def _replay_of(target: Target, name: str) -> StudyConfig:
    from broodline.studies.replay import replay_named

    with closing(target.location.open(create=False)) as store:
        return replay_named(store, target.name, name)
