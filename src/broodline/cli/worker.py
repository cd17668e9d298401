"""`broodline worker`."""

from __future__ import annotations

import argparse
import os
import socket
from contextlib import closing
from typing import TYPE_CHECKING

from broodline.cli.argument_types import device_list
from broodline.cli.engine_argument import add_engine, with_engine
from broodline.cli.study_argument import Target, add_target, file_of, target_of
from broodline.cli.summary import print_end
from broodline.studies.trainer import setup_of

if TYPE_CHECKING:
    from broodline.core.study import StudyConfig

PURPOSE = "Add one worker to an existing study, from another terminal or job."
EXAMPLE = "broodline worker study.toml --store sqlite:////data/broodline.db"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser, by_name=False)
    parser.add_argument("--replay", metavar="NAME", help="work on the replay NAME instead of the study")
    parser.add_argument(
        "--devices",
        metavar="LIST",
        type=device_list,
        help="devices of this worker, such as 2,3, or none (default: free ones of [engine] devices, or of all that are visible)",
    )
    add_engine(parser)


def main(arguments: argparse.Namespace) -> None:
    """Works until the study is done."""
    from dataclasses import replace

    from broodline.studies.run import join

    target = target_of(arguments)
    file = with_engine(file_of(target), arguments.engine)
    if arguments.devices is not None:
        file = replace(file, engine=replace(file.engine, devices=arguments.devices))
    if arguments.replay is not None:
        file = replace(file, study=_replay_of(target, arguments.replay))
        target = Target(name=arguments.replay, location=target.location, file=None, store=target.location.url)
    # Unique in the study: workers of one machine differ in their process number, those of several in the host.
    worker = f"{socket.gethostname()}-{os.getpid()}"
    join(
        file.study,
        location=target.location,
        setup=setup_of(file),
        worker=worker,
        show=not arguments.json,
        devices_named=arguments.devices is not None,
    )
    print_end(target, json=arguments.json)


def _replay_of(target: Target, name: str) -> StudyConfig:
    from broodline.studies.replay import replay_named

    with closing(target.location.open(create=False)) as store:
        return replay_named(store, target.name, name)
