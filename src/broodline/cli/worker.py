"""`broodline worker`."""

from __future__ import annotations

import argparse
import os
import socket
from contextlib import closing
from typing import TYPE_CHECKING

from broodline.cli.study_argument import Target, add_target, file_of, target_of
from broodline.cli.summary import print_end
from broodline.studies.trainer import grace_of, trainer_of

if TYPE_CHECKING:
    from broodline.config.study_file import StudyFile
    from broodline.core.study import StudyConfig

PURPOSE = "Add one worker to an existing study, from another terminal or job."
EXAMPLE = "broodline worker study.toml --store sqlite:////data/broodline.db"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser, by_name=False)
    parser.add_argument("--replay", metavar="NAME", help="work on the replay NAME instead of the study")


def main(arguments: argparse.Namespace) -> None:
    """Works until the study is done."""
    from dataclasses import replace

    target = target_of(arguments)
    file = file_of(target)
    if arguments.replay is not None:
        file = replace(file, study=_replay_of(target, arguments.replay))
        target = Target(name=arguments.replay, location=target.location, file=None, store=target.location.url)
    _work(target, file, json=arguments.json)
    print_end(target, json=arguments.json)


def _work(target: Target, file: StudyFile, *, json: bool) -> None:
    from broodline.controller.controller import Controller, check_same
    from broodline.reports.observer import observing
    from broodline.reports.terminal.live import quiet_view, terminal_view
    from broodline.studies.run import attend, calls_back, interruptible, job_for, raise_if_failed
    from broodline.workers.engines.local import LocalEngine

    make_trainer = trainer_of(file)
    name = f"{socket.gethostname()}-{os.getpid()}"
    with closing(target.location.open(create=False)) as store, interruptible():
        # A transaction, not a snapshot: a store that can't be written is reported before a process starts.
        with store.transaction(target.name) as records:
            check_same(records, file.study)
        view = (quiet_view if json else terminal_view(target.name))(store)
        with observing(store, target.name, [view]) as observation:
            engine = LocalEngine(
                job=job_for(file.study, target.location, make_trainer),
                client=Controller(store),
                name=lambda _location: name,
                devices=file.engine.devices,
                threads=file.engine.threads,
                lease=file.study.limits.lease,
                say=view.say,
            )
            attend(engine, 1, observation=observation, grace=grace_of(file), called_back=calls_back(store, target.name))
        raise_if_failed(store, target.name)


def _replay_of(target: Target, name: str) -> StudyConfig:
    from broodline.studies.replay import replay_named

    with closing(target.location.open(create=False)) as store:
        return replay_named(store, target.name, name)
