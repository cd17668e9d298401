"""Studies without training: tests send the controller the reports of workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broodline.config.study import parse
from broodline.controller.client import Answer, Start, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.trial import Measurement, Trial
from broodline.storage.base import Store
from broodline.storage.location import StudyLocation, open_store

DOCUMENT: Mapping[str, Any] = {
    "name": "digits",
    "trial_steps": 10,
    "population": 3,
    "workers": 2,
    "objective": {"accuracy": "maximize"},
    "space": {"lr": {"float": [1e-4, 1.0], "log": True}, "width": 64},
}


@dataclass
class Recorded:
    """A study in a store, and the last answer to each worker."""

    store: Store
    name: str = "digits"
    answers: dict[str, Answer] = field(default_factory=dict)

    @property
    def controller(self) -> Controller:
        return Controller(self.store)

    def ask(self, worker: str = "0") -> Trial:
        answer = self.controller.ask(self.name, identity(worker))
        assert isinstance(answer, Start)
        self.answers[worker] = answer
        return answer.trial

    def complete(self, metrics: Mapping[str, Any], worker: str = "0", steps: int = 10) -> Trial:
        """Completes the worker's trial and returns it as it was before; the worker then holds its next trial."""
        trial = self.held(worker)
        last = [Measurement(step=trial.start + steps, metrics=metrics)]
        checkpoint = f"checkpoints/{trial.number:06d}.{trial.attempt}"
        self.answers[worker] = self.controller.complete(
            self.name, trial.number, trial.attempt, last, checkpoint, identity(worker)
        )
        return trial

    def fail(self, reason: str, worker: str = "0", reported: Sequence[Measurement] = ()) -> Trial:
        trial = self.held(worker)
        self.answers[worker] = self.controller.fail(
            self.name, trial.number, trial.attempt, reported, reason, "output", identity(worker)
        )
        return trial

    def held(self, worker: str) -> Trial:
        answer = self.answers.get(worker)
        return answer.trial if isinstance(answer, Start) else self.ask(worker)


def identity(worker: str) -> WorkerSession:
    return WorkerSession(worker=worker, session=f"session of {worker}")


def recorded(store: Store, **changes: Any) -> Recorded:
    """A new study without trials; `changes` replace keys of `DOCUMENT`."""
    study = parse({**DOCUMENT, **changes}, "test")
    Controller(store).open(study)
    return Recorded(store, study.name)


def recorded_at(directory: Path, accuracies: Sequence[float] = (), **changes: Any) -> StudyLocation:
    """A study in `broodline.db` of a directory, in which one worker has completed a trial for each accuracy."""
    location = StudyLocation(url=f"sqlite:///{directory / 'broodline.db'}")
    with closing(open_store(location.url)) as store:
        study = recorded(store, **changes)
        for accuracy in accuracies:
            study.complete({"accuracy": accuracy})
    return location
