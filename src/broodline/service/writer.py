"""The thread that writes: calls that arrive together share one transaction, one commit and one flush of the disk.

Theory of operation (group commit). A commit waits for the disk, and no other call can write in that time. So the calls that
arrive during a commit queue up, and the next transaction takes all that are there: under load each flush serves many calls,
and alone a call waits for no other. Each call is a part of the transaction that fails alone. Answers leave after the commit.

A transaction that fails as a whole has changed nothing. If the store does not answer, all of its calls get that error, which
can be repeated. After any other error each call is made again in a transaction of its own, so it fails where it belongs.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from broodline.controller.controller import Controller, Work
from broodline.errors import BroodlineError, RetryableError, StoreUnavailable, StudyNotFound

MOST_TOGETHER = 64

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Call:
    study: str
    work: Work[Any]
    result: asyncio.Future[Any]


class Writer:
    """Executes the work of calls in a thread of its own.

    Args:
        controller: The controller.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="broodline writer", daemon=True)
        self._thread.start()

    async def execute(self, study: str, work: Work[T]) -> T:
        """Executes the work of one call; returns after the commit.

        Raises:
            BroodlineError: As the controller raises it; the call has changed nothing.
        """
        result: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Call(study, work, result))
        return await result

    def close(self) -> None:
        """Ends the thread, after all calls that were made."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            calls, last = [first], False
            while len(calls) < MOST_TOGETHER and not last:
                try:
                    call = self._queue.get_nowait()
                except Empty:
                    break
                last = call is None
                calls += [] if call is None else [call]
            self._execute(calls)
            if last:
                return

    def _execute(self, calls: Sequence[_Call]) -> None:
        for study in dict.fromkeys(call.study for call in calls):
            group = [call for call in calls if call.study == study]
            outcomes = self._outcomes(study, [call.work for call in group])
            self._loop.call_soon_threadsafe(_settle, group, outcomes)

    def _outcomes(self, study: str, works: Sequence[Work[Any]]) -> Sequence[Any]:
        """The result or the error of each work."""
        try:
            return self._controller.together(study, works)
        except (RetryableError, StudyNotFound) as error:
            return [error] * len(works)
        except Exception as error:
            if len(works) == 1:
                return [_shown(error, study)]
        return [outcome for work in works for outcome in self._outcomes(study, [work])]


def _shown(error: Exception, study: str) -> Exception:
    if not isinstance(error, BroodlineError):
        _log.error("a call failed", exc_info=error, extra={"study": study, "worker": None, "trial": None})
    return error


def _settle(calls: Sequence[_Call], outcomes: Sequence[Any]) -> None:
    for call, outcome in zip(calls, outcomes, strict=True):
        if call.result.done():  # its caller was cancelled
            continue
        if isinstance(outcome, BaseException):
            call.result.set_exception(_again(outcome))
        else:
            call.result.set_result(outcome)


def _again(error: BaseException) -> BaseException:
    """An error that several calls raise is a copy for each: a traceback grows where it is raised."""
    return type(error)(*error.args) if isinstance(error, StoreUnavailable | StudyNotFound) else error
