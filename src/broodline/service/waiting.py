"""Workers that wait for a trial: their requests are held, and answered when there is one.

Theory of operation. The answer to an ask changes when the store does: because this service committed a call, or because another
process did, for which one watcher asks the store. It changes with time too, when a lease expires. After each such event the
worker that has waited longest asks again. If it gets a trial, the next one asks, and so on. The first who has to wait ends
that, since all others would have to wait too. So the cost of an event does not grow with the number of workers that wait.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable

from broodline.controller.client import Answer, Wait, WorkerSession
from broodline.errors import BroodlineError

TICK_SECONDS = 1.0  # within which an expired lease is noticed
_PAUSE = 0.01  # seconds between two looks, however often the store changes

Ask = Callable[[str, WorkerSession], Awaitable[Answer]]


class Waiting:
    """The workers that wait.

    Args:
        ask: Asks the controller for a trial.
        watch: Returns when the store may have changed, at the latest after so many seconds.
    """

    def __init__(self, ask: Ask, watch: Callable[[float], Awaitable[None]]) -> None:
        self._ask, self._watch = ask, watch
        self._workers: defaultdict[str, OrderedDict[WorkerSession, asyncio.Future[Answer]]] = defaultdict(OrderedDict)
        self._anyone = asyncio.Event()
        self._changed = asyncio.Event()
        self._closed = False
        self._tasks = [asyncio.create_task(self._look()), asyncio.create_task(self._watched())]

    def __len__(self) -> int:
        return sum(map(len, self._workers.values()))

    async def answer(self, study: str, identity: WorkerSession, seconds: float) -> Answer:
        """The answer to an ask, as soon as it is not `Wait`, and after so many seconds in any case."""
        queue = self._workers[study]
        if self._closed or ((former := queue.pop(identity, None)) is not None and not former.cancel()):
            return Wait()
        mine: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        queue[identity] = mine
        self._anyone.set()
        try:
            async with asyncio.timeout(seconds):
                return await mine
        except TimeoutError:
            return Wait()
        except asyncio.CancelledError:
            if mine.cancelled():  # the same worker asked again
                return Wait()
            raise
        finally:
            if queue.get(identity) is mine:
                del queue[identity]
            if not queue and self._workers.get(study) is queue:
                del self._workers[study]

    def changed(self) -> None:
        """Notes that a call was committed."""
        if self._workers:
            self._changed.set()

    def end_all(self) -> None:
        """Answers all workers, because the service is about to end."""
        self._closed = True
        for queue in self._workers.values():
            for waiting in queue.values():
                if not waiting.done():
                    waiting.set_result(Wait())

    async def close(self) -> None:
        """Ends the watcher."""
        self.end_all()
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _watched(self) -> None:
        """Watches the store while a worker waits."""
        while True:
            await self._anyone.wait()
            if not self._workers:
                self._anyone.clear()
                continue
            await self._watch(TICK_SECONDS)
            self._changed.set()
            await asyncio.sleep(_PAUSE)

    async def _look(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for study in list(self._workers):
                await self._serve(study)
            await asyncio.sleep(_PAUSE)

    async def _serve(self, study: str) -> None:
        """Lets the workers of a study ask, the longest waiting first, until one has to wait on."""
        while queue := self._workers.get(study):
            identity, waiting = next(iter(queue.items()))
            try:
                answer = await self._ask(study, identity)
            except BroodlineError as error:
                if not waiting.done():
                    waiting.set_exception(error)
            else:
                if isinstance(answer, Wait) and not answer.delete:
                    return
                if not waiting.done():
                    waiting.set_result(answer)
            if queue.get(identity) is waiting:
                del queue[identity]
