"""The program's side of the resident protocol: trials arrive as lines of JSON on standard input, each with one answer.

A program that imports this loads only the standard library and a few small modules.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from broodline.core.trial import Measurement, Trial
from broodline.errors import UsageError
from broodline.workers.running_trial import RunningTrial, in_one_line
from broodline.workers.trainers.base import Assignment

_OF_TRIAL = ("attempt", "member", "generation", "seed", "start", "steps")


def trials() -> Iterator[RunningTrial]:
    """Yields the trials that the worker sends, until it sends no more; leaving the `with` block of a trial answers it.

    Raises:
        UsageError: A trial was not trained inside of `with trial:`.
    """
    requests, replies = _channels()
    for request in requests:
        trial = RunningTrial(_assignment(json.loads(request)), leave=partial(_answer, replies))
        yield trial
        if not trial.left:
            problem = f"trial {trial.number} was not trained: in the loop over broodline.trials(), train inside of `with trial:`"
            _reply(replies, {"error": problem})
            raise UsageError(problem)


def _channels() -> tuple[BinaryIO, BinaryIO]:
    """Takes both pipes for this process alone: a program that it starts can neither read its trials nor answer for it."""
    descriptor = int(os.environ.pop("BROODLINE_REPLY"))
    os.set_inheritable(descriptor, False)
    requests = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return requests, os.fdopen(descriptor, "wb")


def _assignment(request: dict[str, Any]) -> Assignment:
    trial = Trial(number=request["trial"], params=request["params"], **{name: request[name] for name in _OF_TRIAL})
    return Assignment(
        trial=trial,
        restore=Path(request["restore"]) if request["restore"] else None,
        save=Path(request["save"]),
        log=Path(os.devnull),  # the worker writes the log: it reads the output of this program
        worker=request["worker"],
        devices=tuple(request["devices"]),
        report=partial(_append, request["metrics"]),
    )


def _append(path: str, measurement: Measurement) -> None:
    with open(path, "ab", buffering=0) as file:
        file.write(_line(_values(measurement)))


def _answer(replies: BinaryIO, trial: RunningTrial, error: BaseException | None) -> bool:
    """Answers for a trial; an error fails the trial and not the program, unless it is one that ends programs."""
    if error is not None and not isinstance(error, Exception):
        return False
    if error is None:
        _reply(replies, _values(trial.last) if trial.last else {})
        return True
    traceback.print_exception(error)
    _reply(replies, {"error": in_one_line(error), "traceback": "".join(traceback.format_exception(error))})
    return True


def _reply(replies: BinaryIO, values: dict[str, Any]) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # the output so far belongs to this trial's log
    replies.write(_line(values))
    replies.flush()


def _values(measurement: Measurement) -> dict[str, Any]:
    return {"step": measurement.step, **measurement.metrics}


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode() + b"\n"
