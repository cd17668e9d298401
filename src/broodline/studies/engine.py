"""Makes the engine that runs the workers of a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from broodline.config.programs import EngineOptions
from broodline.controller.client import Client
from broodline.core.study import StudyConfig
from broodline.errors import UsageError
from broodline.registry import ENGINES
from broodline.storage.location import StudyLocation
from broodline.workers.devices import NO_DEVICES, DeviceSet
from broodline.workers.engines.base import Engine
from broodline.workers.engines.launcher import Job, LauncherType
from broodline.workers.trainers.base import TrainerFactory


def engine_for(
    study: StudyConfig,
    job: Job,
    *,
    cwd: Path | None,
    client: Client,
    options: EngineOptions,
    name: Callable[[int], str] = str,
    devices: DeviceSet = NO_DEVICES,
) -> Engine:
    """Makes the engine of a study; it starts no worker yet.

    Args:
        study: The study.
        job: The work of its workers.
        cwd: The folder in which workers and their programs run; None: the current one.
        client: The controller.
        options: The kind of the engine, threads.
        name: The name of the worker at a place, counted from 0.
        devices: The devices that are dealt out.
    """
    launcher: LauncherType = ENGINES.load(options.kind)
    return Engine(
        launcher=launcher(job=job, cwd=cwd or Path.cwd(), threads=options.threads),
        client=client,
        study=study.name,
        name=name,
        devices=devices.names,
        visibility=devices.variables,
        lease=study.limits.lease,
    )


def job_for(study: StudyConfig, location: StudyLocation, trainer: TrainerFactory) -> Job:
    """The work of a study's workers.

    Raises:
        UsageError: The trainer can't be sent to workers.
    """
    return job_at(location, Job(store="", study=study.name, trainer=_pickled(trainer), checksums=study.checkpoints.checksums))


def job_at(location: StudyLocation, job: Job) -> Job:
    """The same work in a store and with files whose places are known by now."""
    return replace(job, store=location.url, files=None if location.files is None else str(location.files))


def _pickled(trainer: TrainerFactory) -> bytes:
    from broodline.studies.function_pickle import pickled_with_main  # cloudpickle takes time to load

    try:
        return pickled_with_main(trainer.make)
    except Exception as error:
        raise UsageError(
            f"the function can't be sent to worker processes: {error}; "
            "create an object that can't be copied (a lock, an open file, a connection) inside of the function"
        ) from error
