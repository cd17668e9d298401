"""What `run` and `worker` share: the trainer of a study file, and the end of a run told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broodline.cli.study_argument import Target
from broodline.errors import StoreError, StoreUnavailable, StudyNotFound

if TYPE_CHECKING:
    from broodline.reports.status import Overview


def overview_of(target: Target) -> Overview:
    """How the study stands now."""
    from broodline.reports.status import read

    with target.records() as records:
        return read(records)


def finished_before(target: Target) -> int | None:
    """How many of its trials have finished; None if it is new."""
    try:
        return overview_of(target).progress.finished
    except (StoreError, StoreUnavailable, StudyNotFound):  # what is wrong with the store is told when it is run
        return None


def tell_end(target: Target, *, json: bool, before: int | None = None, again: str | None = None) -> None:
    """Prints how a run ended.

    Args:
        target: The study.
        json: As one line of JSON.
        before: How many trials had finished before this run.
        again: The command that goes on with it, where that is not `run`.
    """
    from broodline.reports.records import to_json
    from broodline.reports.status import StudyStatus
    from broodline.reports.terminal import status as panels
    from broodline.reports.terminal.tables import console

    view = overview_of(target)
    if json:
        print(to_json(view.document(target.files)), flush=True)
        return
    printer = console()
    printer.print(panels.overview(view))
    if view.best is not None and view.best.checkpoint is not None:
        printer.print(f"checkpoint  {target.files.path(view.best.checkpoint)}", soft_wrap=True)
    if view.status is StudyStatus.DONE:
        printer.print(f"\n{target.command('schedule')}   shows how the best came to be", soft_wrap=True)
        if view.study.evolution.strategy != "replay":  # a replay ends where its lineage does
            printer.print(_how_to_go_on(nothing_done=before == view.progress.finished, again=again))
    elif view.status in (StudyStatus.IDLE, StudyStatus.STOPPED, StudyStatus.STOPPING):
        printer.print(f"\n{again or target.command('run')}   goes on with it", soft_wrap=True)


def _how_to_go_on(*, nothing_done: bool, again: str | None) -> str:
    spent = "There was nothing left to do. To go on" if nothing_done else "To go on"
    how = "raise the [budget] and run the study again." if again is None else "give the same command more --steps."
    return f"{spent}, {how}"
