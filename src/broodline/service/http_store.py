"""A service as a store: its records can be read, its studies created and deleted, and `client` gives the calls of workers.

Theory of operation. `http://` is a store URL like any other, so this has the methods of a store. Rows are never written
through it: the controller behind the service does that. A snapshot here is not one moment of the study: what a study is doing
comes from one request at its start, and trials, which hardly change once they have finished, from one request a question.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, NoReturn
from urllib.parse import urlencode

from broodline.config.study import parse
from broodline.core.population import Progress
from broodline.core.trial import Checkpoint, Measurement, PeerScore, Score, Trial, TrialState
from broodline.errors import StoreError
from broodline.service.encoding import checkpoint_from, measurement_from, progress_from, trial_from
from broodline.service.errors import TrialNotFound
from broodline.service.http_client import HttpClient, Requests, path_of, requests_to
from broodline.storage.base import FilesRecord, Leases

_PAGE = 200


def open_url(url: str, *, create: bool = True) -> HttpStore:
    """The store of the schemes `http` and `https`. A service is there or not, so `create` has no effect.

    Raises:
        StoreError: The URL or the token can't be used.
    """
    return HttpStore(requests_to(url))


class HttpStore:
    """The studies of a service.

    Args:
        requests: The service.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._client = HttpClient(requests)

    def client(self) -> HttpClient:
        """The client of its controller."""
        return self._client

    def create(self, name: str, definition: str) -> bool:
        if name in self.studies():
            return False
        self._client.open(parse(json.loads(definition), "store", stored=True))
        return True

    def delete(self, name: str) -> None:
        self._client.delete(name)

    def studies(self) -> tuple[str, ...]:
        return tuple(self._requests.send("GET", "/studies")["studies"])

    @contextmanager
    def transaction(self, study: str) -> Iterator[HttpRecords]:
        """The same as `snapshot`: nothing can be written through it."""
        yield HttpRecords(self._requests, study)

    @contextmanager
    def snapshot(self, study: str) -> Iterator[HttpRecords]:
        yield HttpRecords(self._requests, study)

    def files_record(self, study: str) -> FilesRecord | None:
        found = self._requests.send("GET", f"{path_of(study)}/files")["files"]
        return None if found is None else FilesRecord(**found)

    def replace_files_record(self, study: str, before: FilesRecord | None, after: FilesRecord | None) -> bool:
        body = {"before": None if before is None else asdict(before), "after": None if after is None else asdict(after)}
        return bool(self._requests.send("PUT", f"{path_of(study)}/files", body)["replaced"])

    def wait_for_change(self, seconds: float) -> None:
        self._client.wait(seconds)

    def close(self) -> None:
        self._requests.close()


class HttpRecords:
    """The records of a study, to read.

    Args:
        requests: The service.
        study: The study's name.

    Raises:
        StudyNotFound: There is no such study.
    """

    def __init__(self, requests: Requests, study: str) -> None:
        self._requests, self._study = requests, study
        self._seen = self._view("")
        self._unfinished = tuple(map(trial_from, self._seen["unfinished"]))

    @contextmanager
    def part(self) -> Iterator[HttpRecords]:
        yield self

    @property
    def now(self) -> float:
        return float(self._seen["now"])

    def definition(self) -> str:
        return json.dumps(self._seen["definition"])

    def progress(self) -> Progress:
        return progress_from(self._seen["progress"])

    def unfinished(self) -> tuple[Trial, ...]:
        return self._unfinished

    def first_pending(self) -> Trial | None:
        return next((trial for trial in self._unfinished if trial.state is TrialState.PENDING), None)

    def any_running(self) -> bool:
        return bool(self._running())

    def leases(self, worker: str, until: float) -> Leases:
        return Leases(
            held=next((trial for trial in self._running() if trial.worker == worker), None),
            expired=tuple(trial for trial in self._running() if trial.lease_until is not None and trial.lease_until < until),
        )

    def running_in(self, sessions: Sequence[str]) -> tuple[Trial, ...]:
        return tuple(trial for trial in self._running() if trial.session in sessions)

    def members_started(self) -> int:
        return int(self._seen["members_started"])

    def doubtful(self) -> tuple[int, Trial | None]:
        first = self._seen["first_doubtful"]
        return int(self._seen["doubtful"]), None if first is None else trial_from(first)

    def trial(self, number: int) -> Trial | None:
        try:
            return trial_from(self._view(f"/trials/{number}")["trial"])
        except TrialNotFound:
            return None

    def trials(self, *, after: int = -1, limit: int | None = None) -> Iterator[Trial]:
        left = limit
        while left is None or left > 0:
            page = self._view("/trials", after=max(-1, after), limit=_PAGE if left is None else min(_PAGE, left))
            yield from map(trial_from, page["trials"])
            if page["after"] is None:
                return
            after, left = page["after"], None if left is None else left - len(page["trials"])

    def measurements(self, number: int, attempt: int | None = None) -> tuple[Measurement, ...]:
        values = {} if attempt is None else {"attempt": attempt}
        return tuple(map(measurement_from, self._view(f"/trials/{number}/measurements", **values)["measurements"]))

    def latest_measurements(self, number: int, attempt: int) -> Iterator[Measurement]:
        return reversed(self.measurements(number, attempt))

    def best(self, count: int) -> tuple[Trial, ...]:
        return self._trials("/best", count=count)

    def count_of_score(self, score: float) -> int:
        return int(self._view("/scored", score=repr(score))["count"])

    def has_checkpoints(self) -> bool:
        return bool(self._view("/has-checkpoints")["count"])

    def checkpoints(self, members: Collection[int] | None = None) -> tuple[Checkpoint, ...]:
        of: list[dict[str, int]] = [{}] if members is None else [{"member": member} for member in members]
        views = [self._view("/checkpoints", **each) for each in of]
        found = [checkpoint_from(document) for view in views for document in view["checkpoints"]]
        return tuple(sorted(found, key=lambda checkpoint: checkpoint.trial))

    def first_initiator(self, worker: str) -> Trial | None:
        found = self._view("/initiator", worker=worker)["trial"]
        return None if found is None else trial_from(found)

    def leaves(self) -> tuple[Trial, ...]:
        return self._trials("/leaves")

    def open_leaves(self, worker: str, before: int | None = None) -> Iterator[Trial]:
        values = {} if before is None else {"before": before}
        yield from self._trials("/open-leaves", worker=worker, **values)

    def last_completed(self, member: int) -> tuple[Trial, ...]:
        return self._trials(f"/members/{member}/completed")

    def members_with_completed(self) -> tuple[int, ...]:
        return tuple(self._view("/members")["members"])

    def of_generation(self, generation: int) -> tuple[Trial, ...]:
        return self._trials("/generation", generation=generation)

    def middle_scores(self, step: int, count: int, besides: int) -> NoReturn:
        self._refuse()

    def peer_scores(self, step: int, count: int) -> tuple[PeerScore, ...]:
        self._refuse()

    def redefine(self, definition: str) -> None:
        self._refuse()

    def save_progress(self, progress: Progress) -> None:
        self._refuse()

    def insert(self, trial: Trial) -> None:
        self._refuse()

    def update(self, trial: Trial) -> None:
        self._refuse()

    def forget_checkpoint(self, trial: int) -> None:
        self._refuse()

    def add_measurements(self, number: int, attempt: int, measurements: Sequence[Measurement]) -> None:
        self._refuse()

    def add_scores(self, number: int, attempt: int, scores: Sequence[Score]) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StoreError(
            f"{self._requests.url}: this command needs the records themselves, which a service does not give\n"
            "help: run this command on the machine of the service, with the --store that the service has"
        )

    def _running(self) -> list[Trial]:
        return [trial for trial in self._unfinished if trial.state is TrialState.RUNNING]

    def _trials(self, path: str, **values: Any) -> tuple[Trial, ...]:
        return tuple(map(trial_from, self._view(path, **values)["trials"]))

    def _view(self, path: str, **values: Any) -> Any:
        query = f"?{urlencode(values)}" if values else ""
        return self._requests.send("GET", path_of(self._study) + path + query)
