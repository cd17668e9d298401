"""Makes the trainer of a study file or of a Python function, with the resources that it uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from broodline.config.programs import EngineOptions
from broodline.errors import UsageError
from broodline.registry import ENGINES, TRAINERS
from broodline.workers.trainers.base import TrainerFactory

if TYPE_CHECKING:
    from broodline.config.study_file import StudyFile
    from broodline.workers.running_trial import RunningTrial

GRACE_SECONDS = 10.0

Function = Callable[["RunningTrial"], Mapping[str, Any] | None]
"""Trains one trial, and returns its final metrics, or None if it reported them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerSetup:
    """How the workers of this machine train.

    Args:
        trainer: Makes the trainer, in each worker process.
        engine: The kind of the engine, and the devices and threads of the workers.
        grace: Seconds that a worker has to end when a run ends.
    """

    trainer: TrainerFactory
    engine: EngineOptions
    grace: float = GRACE_SECONDS


def setup_of(file: StudyFile) -> TrainerSetup:
    """The setup that trains with the programs of a study file.

    Raises:
        UsageError: The file has no [train], or its engine can't be imported.
    """
    ENGINES.load(file.engine.kind)  # a broken plug-in is an error before a study is created
    # A worker ends its program first, and then releases its trial: the program's grace comes on top.
    grace = GRACE_SECONDS + (0.0 if file.train is None else file.train.grace)
    return TrainerSetup(trainer=trainer_of(file), engine=file.engine, grace=grace)


def setup_for(function: Function, *, devices: Sequence[str | int] | None = None, threads: int = 1) -> TrainerSetup:
    """The setup that trains with a Python function.

    Args:
        function: Trains one trial.
        devices: Distributed among the workers; None: all that are visible; "none" or an empty list: none.
        threads: Threads of numeric libraries in each worker.

    Raises:
        UsageError: The function is not callable, or the devices are a string.
    """
    if not callable(function):
        raise UsageError(f"train must be a function, got {function!r}")
    options = EngineOptions(devices=_device_names(devices), threads=threads)
    trainer = TrainerFactory(make=partial(TRAINERS.load("function"), function, capture=True))
    return TrainerSetup(trainer=trainer, engine=options)


def _device_names(devices: Sequence[str | int] | None) -> tuple[str, ...] | None:
    if isinstance(devices, str) and devices != "none":
        raise UsageError(f'devices must be a list, such as ["0", "1"], or "none", got {devices!r}')
    return None if devices is None else () if devices == "none" else tuple(map(str, devices))


def trainer_of(file: StudyFile) -> TrainerFactory:
    """Returns the factory of the trainer that runs the program of a study file, in that file's folder.

    Raises:
        UsageError: The file has no [train].
    """
    if file.train is None:
        raise UsageError(f'{file.path}: [train]: is missing\nhelp: add [train] command = ["python", "train.py"]')
    trainer = TRAINERS.load("resident" if file.train.resident else "command")
    return TrainerFactory(make=partial(trainer, file.train, file.evaluate), cwd=file.folder)
