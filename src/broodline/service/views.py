"""The read-only views: each reads a snapshot, in a thread that writes nothing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Query

from broodline.core.trial import Trial
from broodline.service import models
from broodline.service.auth import Role
from broodline.service.encoding import Document, checkpoint_document, measurement_document, progress_document, trial_document
from broodline.service.errors import TrialNotFound
from broodline.service.models import Number, StudyName
from broodline.service.routes import permits
from broodline.storage.base import Store, Transaction

T = TypeVar("T")
_MOST_LEAVES = 1_000


class Reading(Protocol):
    """Runs a function that reads, in another thread."""

    def __call__(self, function: Callable[[], T]) -> Awaitable[T]: ...


class Views:
    """The views of a service.

    Args:
        store: The store.
        read: Reads in another thread.
    """

    def __init__(self, store: Store, read: Reading) -> None:
        self._store, self._read = store, read

    @permits(Role.READER)
    async def studies(self) -> Document:
        """The names of all studies, in order of creation."""
        return {"studies": await self._read(self._store.studies)}

    @permits(Role.READER)
    async def study(self, study: StudyName) -> Document:
        """A study: its definition, its progress, and the trials that are running or pending."""
        return await self._of(study, _study)

    @permits(Role.READER)
    async def trials(self, study: StudyName, query: Annotated[models.PageQuery, Query()]) -> Document:
        """The trials after a number, by number."""
        return await self._of(study, lambda records: _page(records, query))

    @permits(Role.READER)
    async def trial(self, study: StudyName, number: Number) -> Document:
        """One trial."""
        found = await self._of(study, lambda records: _one(records.trial(number)))
        if found["trial"] is None:
            raise TrialNotFound(f"study '{study}' has no trial {number}")
        return found

    @permits(Role.READER)
    async def measurements(self, study: StudyName, number: Number, query: Annotated[models.AttemptQuery, Query()]) -> Document:
        """The measurements of an attempt at a trial, in order."""
        found = await self._of(study, lambda records: records.measurements(number, query.attempt))
        return {"measurements": [measurement_document(measurement) for measurement in found]}

    @permits(Role.READER)
    async def best(self, study: StudyName, query: Annotated[models.CountQuery, Query()]) -> Document:
        """The fittest completed trials, the fittest first."""
        return await self._of(study, lambda records: _several(records.best(query.count)))

    @permits(Role.READER)
    async def scored(self, study: StudyName, query: Annotated[models.ScoreQuery, Query()]) -> Document:
        """How many completed trials have a score."""
        return await self._of(study, lambda records: {"count": records.count_of_score(query.score)})

    @permits(Role.READER)
    async def checkpoints(self, study: StudyName, query: Annotated[models.MemberQuery, Query()]) -> Document:
        """The checkpoints that are not kept for good."""
        members = None if query.member is None else (query.member,)
        found = await self._of(study, lambda records: records.checkpoints(members))
        return {"checkpoints": [checkpoint_document(checkpoint) for checkpoint in found]}

    @permits(Role.READER)
    async def has_checkpoints(self, study: StudyName) -> Document:
        """1 if a trial has a checkpoint, whether it is kept for good or not; otherwise 0."""
        return await self._of(study, lambda records: {"count": int(records.has_checkpoints())})

    @permits(Role.READER)
    async def files(self, study: StudyName) -> Document:
        """The record of the directory of a study's files; the study itself need not exist."""
        record = await self._read(lambda: self._store.files_record(study))
        return {"files": None if record is None else asdict(record)}

    @permits(Role.READER)
    async def members(self, study: StudyName) -> Document:
        """The members that have a completed trial."""
        return await self._of(study, lambda records: {"members": records.members_with_completed()})

    @permits(Role.READER)
    async def last_completed(self, study: StudyName, number: Number) -> Document:
        """The last two completed trials of a member, the latest first."""
        return await self._of(study, lambda records: _several(records.last_completed(number)))

    @permits(Role.READER)
    async def generation(self, study: StudyName, query: Annotated[models.GenerationQuery, Query()]) -> Document:
        """All trials of a generation."""
        return await self._of(study, lambda records: _several(records.of_generation(query.generation)))

    @permits(Role.READER)
    async def leaves(self, study: StudyName) -> Document:
        """The finished trials that have not initiated another one."""
        return await self._of(study, lambda records: _several(records.leaves()))

    @permits(Role.READER)
    async def open_leaves(self, study: StudyName, query: Annotated[models.LeavesQuery, Query()]) -> Document:
        """The first leaves at which an independent lineage can be continued."""
        return await self._of(study, lambda records: _several(_first(records.open_leaves(query.worker, query.before))))

    @permits(Role.READER)
    async def initiator(self, study: StudyName, query: Annotated[models.WorkerQuery, Query()]) -> Document:
        """The finished trial that initiates the next one of a worker."""
        return await self._of(study, lambda records: _one(records.first_initiator(query.worker)))

    async def _of(self, study: str, view: Callable[[Transaction], T]) -> T:
        def read() -> T:
            with self._store.snapshot(study) as records:
                return view(records)

        return await self._read(read)


def _study(records: Transaction) -> Document:
    doubtful, first = records.doubtful()
    return {
        "definition": json.loads(records.definition()),
        "progress": progress_document(records.progress()),
        "now": records.now,
        "unfinished": _several(records.unfinished())["trials"],
        "members_started": records.members_started(),
        "doubtful": doubtful,
        "first_doubtful": _one(first)["trial"],
    }


def _page(records: Transaction, query: models.PageQuery) -> Document:
    found = list(records.trials(after=query.after, limit=query.limit))
    return {**_several(found), "after": found[-1].number if len(found) == query.limit else None}


def _first(trials: Iterable[Trial]) -> list[Trial]:
    return [trial for trial, _ in zip(trials, range(_MOST_LEAVES), strict=False)]


def _several(trials: Iterable[Trial]) -> dict[str, Any]:
    return {"trials": [trial_document(trial) for trial in trials]}


def _one(trial: Trial | None) -> dict[str, Any]:
    return {"trial": None if trial is None else trial_document(trial)}
