"""The calls of workers, as functions of the service. The controller and the store know nothing of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import Request as HttpRequest

from broodline.config.study import parse
from broodline.controller.client import Answer, Wait, WorkerSession
from broodline.controller.controller import Controller, Undecided, Work, answering
from broodline.core.untrained import Likeness
from broodline.errors import UsageError
from broodline.service import models
from broodline.service.auth import Role
from broodline.service.encoding import Document, answer_document
from broodline.service.errors import Refused
from broodline.service.models import Number, StudyName
from broodline.service.routes import permits
from broodline.service.waiting import Waiting
from broodline.service.writer import Writer
from broodline.storage.base import FilesRecord, Store
from broodline.storage.checkpoints.base import checkpoint_of_attempt

_READERS = 4  # threads

T = TypeVar("T")


class Calls:
    """The calls of a service. Each is executed by the one thread that writes.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self.store, self.controller = store, Controller(store)
        self.readers = ThreadPoolExecutor(_READERS, thread_name_prefix="broodline reader")
        self._watcher = ThreadPoolExecutor(1, thread_name_prefix="broodline watcher")

    def start(self) -> None:
        """Starts the threads and tasks; called in the event loop."""
        self.writer = Writer(self.controller)
        self.waiting = Waiting(self._ask, self._watch)

    async def close(self) -> None:
        """Ends them, after all calls that were made."""
        await self.waiting.close()
        await asyncio.to_thread(self.writer.close)
        self.readers.shutdown()
        self._watcher.shutdown()

    async def read(self, function: Callable[[], T]) -> T:
        """Reads in another thread."""
        return await asyncio.get_running_loop().run_in_executor(self.readers, function)

    @permits(Role.WORKER)
    async def ask(self, study: StudyName, body: models.Ask, request: HttpRequest) -> Document:
        """A worker asks for a trial; with `wait` the answer comes when there is one."""
        given = await self._ask(study, body.identity)
        if isinstance(given, Wait) and not given.delete and body.wait:
            given = await self._held(study, body, request)
        return answer_document(given)

    @permits(Role.WORKER)
    async def report(self, study: StudyName, number: Number, body: models.Report) -> Document:
        """A worker reports measurements of a running trial, whose lease is renewed."""
        measurements = _values(body)
        signal = await self.writer.execute(
            study, lambda work: work.reports.report(number, body.attempt, measurements, body.index)
        )
        return {"signal": signal}

    @permits(Role.WORKER)
    async def damaged(self, study: StudyName, number: Number, body: models.Damaged) -> Document:
        """A worker reports that the checkpoint of a trial's parent is missing or corrupt."""
        return await self._changing(study, lambda work: work.damaged(number, body.attempt, body.parent, body.identity))

    @permits(Role.WORKER)
    async def complete(self, study: StudyName, number: Number, body: models.Complete) -> Document:
        """A worker completes a trial and asks for the next one."""
        if body.checkpoint != checkpoint_of_attempt(number, body.attempt):
            raise Refused(422, "invalid", "body.checkpoint: is not the name of this attempt")
        measurements, likeness = _values(body), None if body.likeness is None else Likeness(body.likeness)
        return await self._ending(
            study, body, lambda work: work.reports.complete(number, body.attempt, measurements, body.checkpoint, likeness)
        )

    @permits(Role.WORKER)
    async def fail(self, study: StudyName, number: Number, body: models.Fail) -> Document:
        """A worker reports that the program of a trial failed, and asks for the next one."""
        measurements = _values(body)
        return await self._ending(
            study, body, lambda work: work.reports.fail(number, body.attempt, measurements, body.reason, body.output)
        )

    @permits(Role.WORKER)
    async def stop(self, study: StudyName, number: Number, body: models.Stop) -> Document:
        """A worker ends a trial early, and asks for the next one."""
        measurements = _values(body)
        return await self._ending(study, body, lambda work: work.reports.stop(number, body.attempt, measurements))

    @permits(Role.WORKER)
    async def renew(self, study: StudyName, body: models.Renew) -> Document:
        """The heartbeat of a host: the leases of all trials that its sessions hold are extended."""
        await self.writer.execute(study, lambda work: work.renew(body.sessions))
        return {}

    @permits(Role.WORKER)
    async def release(self, study: StudyName, body: models.Release) -> Document:
        """The trials that these sessions hold are given back."""
        await self.writer.execute(study, lambda work: work.release(body.sessions, lost=body.lost))
        self.waiting.changed()
        return {}

    @permits(Role.ADMIN)
    async def open(self, study: StudyName, body: models.Open) -> Document:
        """A study is created, or resumed with changed settings."""
        config = parse(body.definition, "the service")
        if config.name != study:
            raise UsageError(f"the definition is that of study '{config.name}'")
        await self.read(lambda: self.controller.open(config))
        self.waiting.changed()
        return {}

    @permits(Role.WORKER)
    async def replace_files(self, study: StudyName, body: models.ReplaceFiles) -> Document:
        """A worker records the directory in which it found the files of a study, unless another one was faster."""
        before, after = _record(body.before), _record(body.after)
        return {"replaced": await self.read(lambda: self.store.replace_files_record(study, before, after))}

    @permits(Role.ADMIN)
    async def end(self, study: StudyName, body: models.End) -> Document:
        """A study ends: running trials finish, or are called back now."""
        await self.read(lambda: self.controller.end(study, now=body.now, reason=body.reason))
        self.waiting.changed()
        return {}

    @permits(Role.ADMIN)
    async def delete(self, study: StudyName) -> Document:
        """The records of a study are deleted."""
        await self.read(lambda: self.store.delete(study))
        self.waiting.changed()
        return {}

    async def _ending(self, study: str, body: models.Session, save: Work[None]) -> Document:
        given = await self._decided(study, body.identity, answering(body.identity, save))
        self.waiting.changed()
        return answer_document(given)

    async def _changing(self, study: str, work: Work[Answer]) -> Document:
        given = await self.writer.execute(study, work)
        self.waiting.changed()
        return answer_document(given)

    async def _ask(self, study: str, identity: WorkerSession) -> Answer:
        return await self._decided(study, identity, answering(identity))

    async def _decided(self, study: str, identity: WorkerSession, work: Work[Answer | Undecided]) -> Answer:
        outcome = await self.writer.execute(study, work)
        if not isinstance(outcome, Undecided):
            return outcome
        undecided = outcome
        return await self.read(lambda: self.controller.decide(study, identity, undecided))

    async def _held(self, study: str, body: models.Ask, request: HttpRequest) -> Answer:
        """Waits for a trial, and no longer than the client does."""
        held = asyncio.create_task(self.waiting.answer(study, body.identity, body.wait))
        gone = asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait((held, gone), return_when=asyncio.FIRST_COMPLETED)
            return held.result() if held.done() else Wait()
        finally:
            for task in (held, gone):
                task.cancel()

    async def _watch(self, seconds: float) -> None:
        await asyncio.get_running_loop().run_in_executor(self._watcher, self.store.wait_for_change, seconds)


async def _disconnected(request: HttpRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _record(model: models.FilesModel | None) -> FilesRecord | None:
    return None if model is None else FilesRecord(id=model.id, place=model.place)


def _values(body: Any) -> Any:
    try:
        return body.values
    except ValueError as error:
        raise Refused(422, "invalid", f"body.measurements: {error}"[:300]) from None
