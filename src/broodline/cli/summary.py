"""The summary that ends a run: the overview, the best checkpoint, and the command to type next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broodline.cli.output import print_blocks, print_json, print_line
from broodline.cli.study_argument import Target
from broodline.errors import StoreError, StoreUnavailable, StudyNotFound

if TYPE_CHECKING:
    from broodline.reports.status import StudyOverview


def overview_of(target: Target) -> StudyOverview:
    """The overview of the study as it is now."""
    from broodline.reports.status import read_overview

    with target.records() as records:
        return read_overview(records)


def finished_before(target: Target) -> int | None:
    """How many trials of the study have finished; None for a new study."""
    try:
        return overview_of(target).progress.finished
    except (StoreError, StoreUnavailable, StudyNotFound):  # the run itself reports a problem of the store
        return None


def print_end(target: Target, *, json: bool, before: int | None = None, again: str | None = None) -> None:
    """Prints the summary of a run that has ended.

    Args:
        target: The study.
        json: Print one line of JSON.
        before: How many trials had finished before this run.
        again: The command that resumes the study, if it is not `run`.
    """
    from broodline.reports.status import StudyStatus
    from broodline.reports.terminal.status import failure_lines, overview_panel

    overview = overview_of(target)
    if json:
        print_json(overview.document(target.files))
        return
    print_blocks(overview_panel(overview))
    if overview.best is not None and overview.best.checkpoint is not None:
        print_line(f"checkpoint  {target.files.path(overview.best.checkpoint)}")
    if overview.status is StudyStatus.DONE and before == overview.progress.finished:
        print_line("\nThe study is done: this run trained nothing.")
    for line in failure_lines(overview):
        print_line(line)
    for line in _next_steps(target, overview, again):
        print_line(line)


def _next_steps(target: Target, overview: StudyOverview, again: str | None) -> list[str]:
    from broodline.reports.status import StudyStatus

    if overview.status in (StudyStatus.IDLE, StudyStatus.STOPPED, StudyStatus.STOPPING):
        return [f"\nto resume:  {again or target.command('run')}"]
    if overview.status is not StudyStatus.DONE:
        return []
    schedule = f"\nto see the schedule of the best trial:  {target.command('schedule')}"
    if overview.study.evolution.strategy == "replay":  # a replay ends with its lineage: there is nothing to train longer
        return [schedule]
    more = "raise the [budget] and run the study again" if again is None else "repeat the command with more --steps"
    return [schedule, f"to train longer:  {more}"]
