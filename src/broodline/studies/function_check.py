"""Checks a Python function, and prints what it finds: the check of the command line, for scripts and notebooks."""

from __future__ import annotations

import sys

from broodline.config.fields import DURATION, InvalidValue
from broodline.core.study import StudyConfig
from broodline.errors import UsageError
from broodline.studies.check import SECONDS, check, plan
from broodline.studies.check_findings import Finding, Verdict, conclusion, verdict_of
from broodline.studies.trainer import TrainerSetup


def check_function(study: StudyConfig, setup: TrainerSetup, *, steps: int | None, time: str | float | None, show: bool) -> bool:
    """Checks a function; returns True if it passed.

    Args:
        study: The study.
        setup: Makes the trainer of the function.
        steps: Steps of each run; None: the study's `trial_steps`.
        time: The time limit; None: the default.
        show: Print each run and each finding.

    Raises:
        UsageError: `steps` or `time` is wrong.
    """
    if steps is not None and steps < 1:
        raise UsageError(f"study.check: steps: must be an integer, at least 1, got {steps!r}")
    seconds, found = SECONDS if time is None else _seconds(time), []
    say = _say if show else _quiet
    say(plan(study, steps=steps, seconds=seconds))
    for finding in check(study, setup, steps=steps, seconds=seconds, progress=say):
        found.append(finding)
        say(_line(finding))
    say(conclusion(found))
    return verdict_of(found) is Verdict.GOOD


def _seconds(time: str | float) -> float:
    try:
        return float(DURATION.read(time))
    except InvalidValue:
        raise UsageError(f"study.check: time: must be {DURATION.expected}, got {time!r}") from None


def _line(finding: Finding) -> str:
    return "\n".join(filter(None, (f"{finding.verdict:>7}  {finding.text}", finding.output)))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _quiet(_: str) -> None:
    """Prints nothing."""
