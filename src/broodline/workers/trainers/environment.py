"""Describes a trial to its program: by variables, in its arguments, or as a message."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broodline.config.programs import PLACEHOLDERS, spelled
from broodline.workers.trainers.base import Assignment

PREFIX = "BROODLINE_"
_NAMES = (
    *("params", "restore", "save", "metrics", "steps", "start", "end", "trial", "attempt", "member", "generation", "seed"),
    *("worker", "devices", "port", "reply", "process"),
    *("token", "token_file"),  # those of a service are for workers, not for the programs that they run
)
_OURS = frozenset(PREFIX + name.upper() for name in _NAMES)

Facts = Mapping[str, Any]


def facts(assignment: Assignment, *, port: int) -> dict[str, Any]:
    """The facts about a trial, by name; None where the trial has none, and for the metrics file, which is made later.

    Args:
        assignment: The attempt at it.
        port: A free port.
    """
    trial = assignment.trial
    return {
        "restore": None if assignment.restore is None else str(assignment.restore),
        "save": str(assignment.save),
        "metrics": None,
        "steps": trial.steps,
        "start": trial.start,
        "end": trial.end,
        "trial": trial.number,
        "attempt": trial.attempt,
        "member": trial.member,
        "generation": trial.generation,
        "seed": trial.seed,
        "worker": assignment.worker,
        "devices": list(assignment.devices),
        "port": port,
    }


def for_evaluation(about: Facts, *, checkpoint: Path, step: int) -> dict[str, Any]:
    """The facts for the program that measures the new checkpoint: it has weights to read, and nothing to train or to save.

    Args:
        about: The facts for the program that trained.
        checkpoint: The directory in which that one saved.
        step: The steps that its weights have behind them.
    """
    return {**about, "restore": str(checkpoint), "save": None, "start": step, "steps": 0, "end": step}


def message(about: Facts, params: Mapping[str, Any]) -> dict[str, Any]:
    """The request to a resident program; its params come with it, not in a file."""
    return {"params": dict(params), **about}


def placeholders(about: Facts, params: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The values that can be filled into the arguments of a command.

    Args:
        about: The facts about the trial.
        params: Its hyperparameters.
        path: The file that holds them.
    """
    later = {"end": about["end"], "python": sys.executable}
    return {**later, **params, **{name: about[name] for name in PLACEHOLDERS if name != "params"}, "params": str(path)}


def variables(about: Facts, path: Path) -> dict[str, str]:
    """The environment of a program that is run once for this trial; a fact that the trial does not have is not set.

    Args:
        about: The facts about the trial.
        path: The file that holds its hyperparameters.
    """
    named = {name: spelled(value) for name, value in about.items() if value is not None and name != "devices"}
    given = {"params": str(path), **named}
    return {PREFIX + name.upper(): value for name, value in given.items()} | device_variables(about["devices"])


def worker_variables(assignment: Assignment) -> dict[str, str]:
    """The environment of a resident program: the facts that hold for all of its trials."""
    return {f"{PREFIX}WORKER": assignment.worker, **device_variables(assignment.devices)}


def device_variables(devices: tuple[str, ...] | list[str]) -> dict[str, str]:
    """The devices in broodline's variable; the program inherits the variables of the vendor from its worker."""
    return {f"{PREFIX}DEVICES": ",".join(devices)}


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without the variables of another trial: a program of a study may run a study itself."""
    return {name: value for name, value in environ.items() if name not in _OURS}
