"""`broodline stop`."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import TYPE_CHECKING

from broodline.cli.output import print_json
from broodline.cli.study_argument import Target, add_target, target_of
from broodline.core.population import StudyState

if TYPE_CHECKING:
    from broodline.reports.status import StudyOverview

PURPOSE = "Stop a running study, from any terminal: no new trial starts. `broodline run` resumes it."
EXAMPLE = "broodline stop study.toml --now"
# The commands that make studies, by strategy.
_MADE_BY = {"replay": "broodline replay", "continue": "broodline continue"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_target(parser)
    parser.add_argument("--now", action="store_true", help="interrupt running trials; a resumed study trains them again")


def main(arguments: argparse.Namespace) -> None:
    """Stops a study."""
    from broodline.controller.access import client_of
    from broodline.reports.format import format_count
    from broodline.reports.status import read_overview

    target = target_of(arguments)
    with closing(target.location.open(create=False)) as store:
        with store.snapshot(target.name) as records:
            overview = read_overview(records)
        if _can_be_stopped(overview, now=arguments.now):
            client_of(store).end(target.name, now=arguments.now, reason="stopped by `broodline stop`")
        with store.snapshot(target.name) as records:
            overview = read_overview(records)
    if arguments.json:
        print_json(overview.document(target.files))
        return
    print(f"study '{target.name}' is {overview.status}: {overview.reason}")
    if overview.running:
        end = "will be interrupted" if arguments.now else "will finish first"
        print(f"{format_count(len(overview.running), 'running trial')} {end}")
    print(_how_to_resume(target, overview))


def _how_to_resume(target: Target, overview: StudyOverview) -> str:
    """A study that is made from another one resumes by the command that made it, any other by `run`."""
    from broodline.reports.status import StudyStatus

    if command := _MADE_BY.get(overview.study.evolution.strategy):
        return f"to resume:  repeat the `{command}` command that made it"
    condition = ", after raising its [budget]" if overview.status is StudyStatus.DONE else ""
    return f"to resume{condition}:  {target.command('run') if target.file else 'broodline run STUDY.toml'}"


def _can_be_stopped(overview: StudyOverview, *, now: bool) -> bool:
    """False for a study that has ended already: its record keeps the reason for which it ended."""
    from broodline.reports.status import StudyStatus

    state = overview.progress.state
    return overview.status is not StudyStatus.DONE and (state is StudyState.ACTIVE or (now and state is StudyState.STOPPING))
