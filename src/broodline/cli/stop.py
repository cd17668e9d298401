"""`broodline stop`."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import TYPE_CHECKING

from broodline.cli.output import print_json
from broodline.cli.study_argument import add_target, target_of
from broodline.core.population import StudyState

if TYPE_CHECKING:
    from broodline.reports.status import StudyOverview

PURPOSE = "Stop a running study, from any terminal: no new trial starts. `broodline run` resumes it."
EXAMPLE = "broodline stop study.toml --now"
# Studies that are made from others resume by the command that made them; "alone" is the old name of "continue".
_RESUMING = {"replay": "replay", "continue": "continue", "alone": "continue"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser)
    parser.add_argument("--now", action="store_true", help="interrupt running trials; a resumed study trains them again")


def main(arguments: argparse.Namespace) -> None:
    """Stops a study."""
    from broodline.controller.controller import Controller
    from broodline.reports.format import format_count
    from broodline.reports.status import StudyStatus, read_overview

    target = target_of(arguments)
    with closing(target.location.open(create=False)) as store:
        with store.snapshot(target.name) as records:
            overview = read_overview(records)
        if _can_be_stopped(overview, now=arguments.now):
            Controller(store).end(target.name, now=arguments.now, reason="stopped by `broodline stop`")
        with store.snapshot(target.name) as records:
            overview = read_overview(records)
    if arguments.json:
        print_json(overview.document(target.files))
        return
    print(f"study '{target.name}' is {overview.status}: {overview.reason}")
    if overview.running:
        action = "interrupting" if arguments.now else "waiting for"
        print(f"{action} {format_count(len(overview.running), 'running trial')}")
    way = _RESUMING.get(overview.study.evolution.strategy, "run")
    command = target.command(way) if target.file else f"broodline {way} STUDY.toml"
    condition = ", after raising its [budget]" if overview.status is StudyStatus.DONE else ""
    print(f"to resume it{condition}: {command}")


def _can_be_stopped(overview: StudyOverview, *, now: bool) -> bool:
    """False for a study that has ended already: its record keeps the reason for which it ended."""
    from broodline.reports.status import StudyStatus

    state = overview.progress.state
    return overview.status is not StudyStatus.DONE and (state is StudyState.ACTIVE or (now and state is StudyState.STOPPING))
