"""`broodline stop`."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import TYPE_CHECKING

from broodline.cli.study_argument import add_target, target_of
from broodline.core.population import StudyState

if TYPE_CHECKING:
    from broodline.reports.status import Overview

PURPOSE = "End a study that is running, from anywhere: no new trial starts. `broodline run` goes on with it."
EXAMPLE = "broodline stop study.toml --now"
_WAYS = {"replay": "replay", "continue": "continue"}  # of studies that are made from others, how they go on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser)
    parser.add_argument("--now", action="store_true", help="call running trials back, instead of letting them finish")


def main(arguments: argparse.Namespace) -> None:
    """Ends a study."""
    from broodline.controller.controller import Controller
    from broodline.reports import format as wording
    from broodline.reports.records import to_json
    from broodline.reports.status import read

    target = target_of(arguments)
    with closing(target.location.open(create=False)) as store:
        with store.snapshot(target.name) as records:
            view = read(records)
        if _is_heard(view, now=arguments.now):
            Controller(store).end(target.name, now=arguments.now, reason="stopped by `broodline stop`")
        with store.snapshot(target.name) as records:
            view = read(records)
    if arguments.json:
        print(to_json(view.document(target.files)))
        return
    print(f"study '{target.name}' is {view.status}: {view.reason}")
    if view.running:
        what = "are called back" if arguments.now else "finish"
        print(f"{wording.counted(len(view.running), 'running trial')} {what}")
    way = _WAYS.get(view.study.evolution.strategy, "run")
    command = target.command(way) if target.file else f"`broodline {way}` with its study file"
    print(f"{command} goes on with it" + (", with a larger [budget]" if view.status == "done" else ""))


def _is_heard(view: Overview, *, now: bool) -> bool:
    """False where a study has ended already, so that stopping it must not hide why."""
    from broodline.reports.status import StudyStatus

    state = view.progress.state
    return view.status is not StudyStatus.DONE and (state is StudyState.ACTIVE or (now and state is StudyState.STOPPING))
