"""Chooses the trainer of a study: the one that its study file asks for, or a Python function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from broodline.errors import UsageError
from broodline.registry import TRAINERS
from broodline.workers.trainers.base import TrainerFactory

if TYPE_CHECKING:
    from broodline.config.study_file import StudyFile
    from broodline.workers.running_trial import RunningTrial


def trainer_of(file: StudyFile) -> TrainerFactory:
    """Returns the factory of the trainer that runs the program of a study file, in that file's folder.

    Raises:
        UsageError: The file names no program.
    """
    if file.train is None:
        raise UsageError(f'{file.path}: has no [train], so there is nothing to run; add [train] command = ["python", "train.py"]')
    trainer = TRAINERS.load("resident" if file.train.resident else "command")
    return TrainerFactory(make=partial(trainer, file.train, file.evaluate), cwd=file.folder)


def function_trainer(function: Callable[[RunningTrial], Mapping[str, Any] | None]) -> TrainerFactory:
    """Returns the factory of the trainer that calls a Python function; its output goes to the trials' logs."""
    return TrainerFactory(make=partial(TRAINERS.load("function"), function, capture=True))


def grace_of(file: StudyFile) -> float:
    """Seconds that workers are given to end: the program's, and some to give its trial back."""
    from broodline.studies.run import GRACE_SECONDS

    return GRACE_SECONDS + (0.0 if file.train is None else file.train.grace)
