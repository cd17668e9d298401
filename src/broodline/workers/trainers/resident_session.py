"""The worker's side of the resident protocol: requests go to the program's standard input, answers come on another pipe.

Theory of operation. The program waits for a request (`idle`), or works on one. A trial fails if the program ends, is silent for
longer than its timeout, or writes anything but one line. A program that ended *between* two trials, by its own decision or by an
accident, is no fault of the next one: if it read nothing of the request (`RequestUnread`), another is started.
Output outside of a trial goes to the log of the next one.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from broodline.config.programs import Train, fill
from broodline.errors import TrialFailed
from broodline.workers.metrics import quoted
from broodline.workers.trainers.base import Assignment
from broodline.workers.trainers.environment import inherited, worker_variables
from broodline.workers.trainers.process import Process
from broodline.workers.trainers.process_problems import ending
from broodline.workers.trainers.program_run import FOLLOW_SECONDS, check_time

_LONGEST_ANSWER = 16 << 20  # bytes; metrics are numbers: anything longer is not an answer, and would fill the memory


class RequestUnread(Exception):
    """The program had ended before it read the request."""


class ResidentProgram:
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
        self._received = b""
        self._closed_by_program = self._has_answered = False

    def start(self, assignment: Assignment) -> None:
        """Starts the program for the worker that this assignment names.

        Raises:
            TrialFailed: There is no such program, or it can't be started.
        """
        self._answers, theirs = os.pipe()
        try:
            self._process.start(
                fill(self._train.command, {"python": sys.executable}),
                environ=inherited(os.environ) | worker_variables(assignment) | {"BROODLINE_REPLY": str(theirs)},
                cwd=self._cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[theirs],
            )
        finally:
            # Only the program holds its end now, so its death closes the pipe.
            os.close(theirs)
        self._process.listen(self._process.output, self._print)
        self._process.listen(self._answers, self._receive)

    @property
    def idle(self) -> bool:
        """True while the program waits for a request, and has written no answer without one."""
        self._process.drain()
        self._process.reap()
        return not (self._process.ended or self._received or self._closed_by_program)

    def ask(self, request: Mapping[str, Any], log: BinaryIO, attend: Callable[[], None]) -> str:
        """The program's answer to a request, one line.

        Args:
            request: A JSON object.
            log: The file to which its output is appended.
            attend: Called several times a second; its errors are passed on.

        Raises:
            TrialFailed: It ended, did not answer in time, or wrote more than an answer.
            RequestUnread: It ended after an earlier answer, and read nothing of this request.
        """
        self._log = log
        self._print(b"")
        until = math.inf if self._train.timeout is None else time.monotonic() + self._train.timeout
        self._process.send(json.dumps(request).encode() + b"\n")
        try:
            while b"\n" not in self._received:
                self._wait(until)
                attend()
            # Output that the program printed before its answer belongs to the log of this trial.
            self._process.drain()
            return self._line()
        finally:
            self._log = None

    def close(self) -> None:
        """Closes the program's standard input: there are no more trials. Waits until the program has ended."""
        try:
            self._process.hang_up()
        finally:
            self._process.close()
            self._release()

    def end(self) -> None:
        """Ends the program in the middle of a trial."""
        try:
            self._process.end()
        finally:
            self._release()

    def _wait(self, until: float) -> None:
        """Waits a moment for the program's answer."""
        ended = self._process.wait(max(0.0, min(FOLLOW_SECONDS, until - time.monotonic())))
        if ended or self._closed_by_program:
            self._process.drain()
            if b"\n" not in self._received:
                raise self._no_answer()
        elif b"\n" not in self._received:
            check_time(until, self._train.timeout)

    def _no_answer(self) -> TrialFailed | RequestUnread:
        self._process.wait_for_end()
        if not self._process.ended:
            return TrialFailed("closed the descriptor that BROODLINE_REPLY names without an answer")
        unread = self._has_answered and self._process.unread
        self._process.close()
        if unread:
            return RequestUnread()
        status = self._process.status
        return TrialFailed(ending(status) if status else "ended without an answer (exit status 0)")

    def _line(self) -> str:
        line, _, rest = self._received.partition(b"\n")
        self._received, self._has_answered = b"", True
        if rest:
            raise TrialFailed(f"answered with more than one line; after the first came {quoted(rest.decode(errors='replace'))}")
        return line.decode(errors="replace")

    def _print(self, data: bytes) -> None:
        """Logs output of the program; output between two trials waits for the log of the next."""
        self._unlogged += data
        if self._log is not None:
            self._log.write(self._unlogged)
            self._unlogged = b""

    def _receive(self, data: bytes) -> None:
        self._received += data
        self._closed_by_program = not data
        if len(self._received) > _LONGEST_ANSWER:
            self._received = b""
            raise TrialFailed(f"answered with more than {_LONGEST_ANSWER >> 20} MiB")

    def _release(self) -> None:
        if self._answers is not None:
            os.close(self._answers)
            self._answers = None
