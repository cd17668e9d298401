"""Makes the trainer that a study file asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from broodline.errors import UsageError

if TYPE_CHECKING:
    from broodline.config.study_file import StudyFile
    from broodline.workers.trainers.base import Trainer


def trainer_of(file: StudyFile) -> Callable[[], Trainer]:
    """Makes, in each worker, what trains by the program of a study file.

    Raises:
        UsageError: The file names no program.
    """
    if file.train is None:
        raise UsageError(f'{file.path}: has no [train], so there is nothing to run; add [train] command = ["python", "train.py"]')
    if file.train.resident:
        from broodline.workers.trainers.resident import ResidentTrainer

        return partial(ResidentTrainer, file.train, file.evaluate, cwd=file.folder)
    from broodline.workers.trainers.command import CommandTrainer

    return partial(CommandTrainer, file.train, file.evaluate, cwd=file.folder)


def grace_of(file: StudyFile) -> float:
    """Seconds that workers are given to end: the program's, and some to give its trial back."""
    from broodline.studies.run import GRACE_SECONDS

    return GRACE_SECONDS + (0.0 if file.train is None else file.train.grace)
