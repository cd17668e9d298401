"""Runs a study with a Python function, and warns about what only happens in Python: no budget, or a function that changed.

A study file always states its budget. A call of `study.run(train)` does not, and a notebook repeats it after each edit of the
function: so the stored budget holds, and a run that had nothing left to train must not look like one that trained the new code.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from broodline.config.study import study_from
from broodline.core.study import Budget, StudyConfig
from broodline.errors import StoreMissing, StudyNotFound
from broodline.reports.status import StudyOverview, StudyStatus, read_overview
from broodline.storage.location import StudyLocation
from broodline.studies.fingerprint import has_changed, note
from broodline.studies.run import run
from broodline.studies.trainer import Function, TrainerSetup

_log = logging.getLogger(__name__)


def run_function(
    train: Function,
    define: Callable[[Budget], StudyConfig],
    *,
    name: str,
    location: StudyLocation,
    setup: TrainerSetup,
    workers: int,
    budget: Budget | None,
    show: bool,
    fresh: bool,
) -> None:
    """Runs a study with a function, until its budget is used up.

    Args:
        train: The function.
        define: Makes the definition with a budget.
        name: The name of the study.
        location: Its store and its files.
        setup: The trainer that calls the function, and its resources.
        workers: W, the number of worker processes.
        budget: The budget; None: the stored one, or none for a new study.
        show: Show a live view.
        fresh: Delete the study first.

    Raises:
        BroodlineError: As `run` and `remove` raise it.
    """
    stored = _stored(location, name)
    study = define(_budget(stored, name) if budget is None else budget)
    if fresh and stored is not None:
        from broodline.studies.removal import remove

        remove(location, name)
        stored = None
    before = 0 if stored is None else _overview(location, name).progress.finished
    run(study, location=location, setup=setup, workers=workers, show=show)
    _note(train, location, name, before)


def _stored(location: StudyLocation, name: str) -> StudyConfig | None:
    """The definition in the store; None for a new study."""
    try:
        with location.records(name) as records:
            return study_from(records.definition())
    except (StoreMissing, StudyNotFound):
        return None


def _budget(stored: StudyConfig | None, name: str) -> Budget:
    if stored is not None:
        return stored.budget
    _warn(name, "has no budget and trains until it is stopped; pass budget=Budget(trials=100), or Budget.unlimited()")
    return Budget.unlimited()


def _overview(location: StudyLocation, name: str) -> StudyOverview:
    with location.records(name) as records:
        return read_overview(records)


def _note(train: Function, location: StudyLocation, name: str, before: int) -> None:
    """Records the function that trained, or warns that nothing was left to train."""
    files, after = location.files_of(name), _overview(location, name)
    if after.progress.finished != before:
        note(train, files)
    elif after.status is StudyStatus.DONE:
        changed = "the function has changed since it trained, and " if has_changed(train, files) else ""
        again = "raise the budget, or start from scratch with run(..., fresh=True)"
        _warn(name, f"is done ({after.reason}): {changed}nothing was left to train; {again}")


def _warn(name: str, message: str) -> None:
    _log.warning(f"study '{name}' {message}", extra={"study": name, "worker": None, "trial": None})
