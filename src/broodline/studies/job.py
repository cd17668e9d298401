"""Describes a study to its worker processes."""

from __future__ import annotations

import pickle
from collections.abc import Callable

from broodline.core.study import StudyConfig
from broodline.errors import UsageError
from broodline.storage.location import StudyLocation
from broodline.workers.engines.worker_process import Job
from broodline.workers.trainers.base import Trainer


def job_for(study: StudyConfig, location: StudyLocation, make_trainer: Callable[[], Trainer]) -> Job:
    """The job of a worker process: the store, the study, its files and its trainer.

    Raises:
        UsageError: The trainer holds an object that cannot be copied to another process.
    """
    return Job(
        store=location.url,
        study=study.name,
        files=location.files(study.name).root,
        trainer=_pickled(make_trainer),
        checksums=study.checkpoints.checksums,
    )


def _pickled(make_trainer: Callable[[], Trainer]) -> bytes:
    import cloudpickle  # only a run needs it

    try:
        pickled: bytes = cloudpickle.dumps(make_trainer, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # pickling runs the code of any object, which may raise anything
        raise UsageError(
            f"the function can't be sent to worker processes: {error}\n"
            "help: create locks, open files and connections inside the function"
        ) from error
    return pickled
