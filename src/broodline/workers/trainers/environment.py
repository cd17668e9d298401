"""What a program is told about its trial: by variables, in its arguments, or as a message."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broodline.config.programs import PLACEHOLDERS, spelled
from broodline.workers.trainers.base import Assignment

PREFIX = "BROODLINE_"
_NAMES = (
    *("params", "restore", "save", "metrics", "steps", "start", "trial", "attempt", "member", "generation", "seed"),
    *("worker", "devices", "port", "reply", "token"),
)
_OURS = frozenset(PREFIX + name.upper() for name in _NAMES)

Facts = Mapping[str, Any]


def facts(assignment: Assignment, *, port: int) -> dict[str, Any]:
    """What there is to tell about a trial, by name; None where it has none, as of a file for metrics that is yet to be made.

    Args:
        assignment: The attempt at it.
        port: A free one.
    """
    trial = assignment.trial
    return {
        "restore": None if assignment.restore is None else str(assignment.restore),
        "save": str(assignment.save),
        "metrics": None,
        "steps": trial.steps,
        "start": trial.start,
        "trial": trial.number,
        "attempt": trial.attempt,
        "member": trial.member,
        "generation": trial.generation,
        "seed": trial.seed,
        "worker": assignment.worker,
        "devices": list(assignment.devices),
        "port": port,
    }


def for_evaluation(told: Facts, *, checkpoint: Path, step: int) -> dict[str, Any]:
    """The same for the program that measures the new checkpoint: it has weights to read, nothing to train or to save.

    Args:
        told: What the program that trained was told.
        checkpoint: What that one saved.
        step: The steps that its weights have behind them.
    """
    return {**told, "restore": str(checkpoint), "save": None, "start": step, "steps": 0}


def message(told: Facts, params: Mapping[str, Any]) -> dict[str, Any]:
    """The request to a resident program; its params come with it, not in a file."""
    return {"params": dict(params), **told}


def placeholders(told: Facts, params: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What can be filled into the arguments of a command.

    Args:
        told: About the trial.
        params: Its hyperparameters.
        path: The file that holds them.
    """
    return {**params, **{name: told[name] for name in PLACEHOLDERS if name != "params"}, "params": str(path)}


def variables(told: Facts, path: Path) -> dict[str, str]:
    """The environment of a program that is run once for this trial; what the trial does not have is not set.

    Args:
        told: About the trial.
        path: The file that holds its hyperparameters.
    """
    named = {name: spelled(value) for name, value in told.items() if value is not None and name != "devices"}
    given = {"params": str(path), **named}
    return {PREFIX + name.upper(): value for name, value in given.items()} | device_variables(told["devices"])


def worker_variables(assignment: Assignment) -> dict[str, str]:
    """The environment of a program that stays: what is true of all of its trials."""
    return {f"{PREFIX}WORKER": assignment.worker, **device_variables(assignment.devices)}


def device_variables(devices: tuple[str, ...] | list[str]) -> dict[str, str]:
    """The devices in broodline's variable, and where there are any in that of CUDA."""
    text = ",".join(devices)
    return {f"{PREFIX}DEVICES": text} | ({"CUDA_VISIBLE_DEVICES": text} if devices else {})


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without what another trial was told: a study may be run by a program of a study."""
    return {name: value for name, value in environ.items() if name not in _OURS}
