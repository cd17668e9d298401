"""What is said between a resident program and its worker: requests on its standard input, answers on a pipe of their own."""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from broodline.config.programs import Train, fill
from broodline.errors import TrialFailed
from broodline.workers.metrics import quoted
from broodline.workers.trainers.base import Assignment
from broodline.workers.trainers.environment import inherited, worker_variables
from broodline.workers.trainers.process import Process, ending
from broodline.workers.trainers.program_run import FOLLOW_SECONDS, check_time

_LONGEST_ANSWER = 16 << 20  # bytes; metrics are numbers: what is longer is no answer, and would fill the memory


class Unheard(Exception):
    """The program had ended before it heard the request: by its own decision after its last answer, or by an accident."""


class Conversation:
    """A resident program, from its start to its end.

    Args:
        train: The program.
        cwd: The folder that it runs in.
        owner: The session of the worker.
    """

    def __init__(self, train: Train, *, cwd: Path, owner: str | None) -> None:
        self._train, self._cwd = train, cwd
        self._process = Process(grace=train.grace, owner=owner)
        self._log: BinaryIO | None = None
        self._unlogged = b""
        self._answers: int | None = None
        self._heard = b""
        self._closed_by_it = self._has_answered = False

    def start(self, assignment: Assignment) -> None:
        """Starts the program for the worker that this assignment names.

        Raises:
            TrialFailed: There is no such program, or it can't be started.
        """
        self._answers, theirs = os.pipe()
        try:
            self._process.start(
                fill(self._train.command, {}),
                environ=inherited(os.environ) | worker_variables(assignment) | {"BROODLINE_REPLY": str(theirs)},
                cwd=self._cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[theirs],
            )
        finally:
            os.close(theirs)
        self._process.listen(self._process.output, self._print)
        self._process.listen(self._answers, self._hear)

    @property
    def idle(self) -> bool:
        """True while the program waits for a request, and has said nothing that it was not asked."""
        self._process.drain()
        self._process.reap()
        return not (self._process.ended or self._heard or self._closed_by_it)

    def ask(self, request: Mapping[str, Any], log: BinaryIO, attend: Callable[[], None]) -> str:
        """The program's answer to a request, a line of text.

        Args:
            request: A JSON object.
            log: Where what it prints meanwhile is appended.
            attend: Called several times a second; what it raises goes on.

        Raises:
            TrialFailed: It ended, did not answer in time, or said more than an answer.
            Unheard: It ended after an earlier answer, and has seen nothing of this request.
        """
        self._log = log
        self._print(b"")
        until = math.inf if self._train.timeout is None else time.monotonic() + self._train.timeout
        self._process.send(json.dumps(request).encode() + b"\n")
        try:
            while b"\n" not in self._heard:
                self._wait(until)
                attend()
            self._process.drain()
            return self._line()
        finally:
            self._log = None

    def close(self) -> None:
        """Tells the program that there are no more trials, and sees it end."""
        try:
            self._process.hang_up()
        finally:
            self._process.close()
            self._release()

    def end(self) -> None:
        """Ends the program in the midst of a trial."""
        try:
            self._process.end()
        finally:
            self._release()

    def _wait(self, until: float) -> None:
        """Waits for the program to say something, for a moment."""
        ended = self._process.wait(max(0.0, min(FOLLOW_SECONDS, until - time.monotonic())))
        if ended or self._closed_by_it:
            self._process.drain()
            if b"\n" not in self._heard:
                raise self._silence()
        elif b"\n" not in self._heard:
            check_time(until, self._train.timeout)

    def _silence(self) -> TrialFailed | Unheard:
        self._process.wait_for_end()
        if not self._process.ended:
            return TrialFailed("closed the descriptor that BROODLINE_REPLY names without an answer")
        unheard = self._has_answered and self._process.unread
        self._process.close()
        if unheard:
            return Unheard()
        status = self._process.status
        return TrialFailed(ending(status) if status else "ended without an answer (exit status 0)")

    def _line(self) -> str:
        line, _, rest = self._heard.partition(b"\n")
        self._heard, self._has_answered = b"", True
        if rest:
            raise TrialFailed(f"answered with more than one line; after the first came {quoted(rest.decode(errors='replace'))}")
        return line.decode(errors="replace")

    def _print(self, data: bytes) -> None:
        """Logs what the program printed; what it prints between two trials goes to the log of the next."""
        self._unlogged += data
        if self._log is not None:
            self._log.write(self._unlogged)
            self._unlogged = b""

    def _hear(self, data: bytes) -> None:
        self._heard += data
        self._closed_by_it = not data
        if len(self._heard) > _LONGEST_ANSWER:
            self._heard = b""
            raise TrialFailed(f"answered with more than {_LONGEST_ANSWER >> 20} MiB")

    def _release(self) -> None:
        if self._answers is not None:
            os.close(self._answers)
            self._answers = None
