"""Assignments for trainers under test, and whether the processes of their programs are gone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

import broodline
from broodline.core.trial import Measurement, Trial
from broodline.workers.trainers.base import Assignment

PYTHON = sys.executable
SEES_US = os.environ | {"PYTHONPATH": str(Path(broodline.__file__).parents[1])}
"""The environment of a program that imports broodline; it also works for a checkout that is not installed."""


def trial(number: int = 0, *, params: Mapping[str, Any] | None = None, **changes: Any) -> Trial:
    given = {"member": 0, "generation": 0, "steps": 3, "attempt": 1, **changes}
    return Trial(number=number, params=params or {}, **given)


def assignment(
    directory: Path,
    number: int = 0,
    *,
    restore: Path | None = None,
    report: Callable[[Measurement], None] = lambda _: None,
    devices: tuple[str, ...] = (),
    **of_trial: Any,
) -> Assignment:
    """An attempt at a trial; the trial's number names its files in the directory."""
    save = directory / f"save-{number}"
    save.mkdir()
    return Assignment(
        trial=trial(number, **of_trial),
        restore=restore,
        save=save,
        log=directory / f"{number}.log",
        worker="4",
        devices=devices,
        report=report,
    )


def script(directory: Path, name: str, text: str) -> tuple[str, ...]:
    """Writes a Python program into a directory; returns the command that runs it."""
    (directory / name).write_text(text, encoding="utf-8")
    return (PYTHON, str(directory / name))


def is_gone(pid: int) -> bool:
    """True if there is no such process, or only a zombie."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
