"""Playing a study in one process: workers without processes, training without programs, a clock that tests advance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from broodline.config.study import parse
from broodline.controller.client import Answer, Client, Done, Start, WorkerSession
from broodline.core.study import StudyConfig
from broodline.core.trial import Measurement, Trial
from broodline.errors import LeaseLost
from broodline.storage.checkpoints.base import checkpoint_of

MetricsOf = Callable[[Trial], Mapping[str, Any] | None]
"""Trains a trial: the metrics of its last measurement, or None if its program fails."""

_TABLES: Mapping[str, Any] = {
    "name": "played",
    "trial_steps": 10,
    "population": 4,
    "objective": {"score": "maximize"},
    "space": {
        "lr": {"float": [1e-4, 1.0], "log": True},
        "batch": {"ordered": [16, 32, 64]},
        "optimizer": {"choice": ["sgd", "adam"]},
        "momentum": {"float": [0.0, 1.0], "when": {"optimizer": "sgd"}},
        "layers": {"int": [1, 8], "mutate": False},
        "width": 64,
    },
    "budget": {"trials": 40},
}


class FakeClock:
    """The `clock` of a store; it moves only by `advance`."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Advances the clock."""
        self.now += seconds


def study_from_tables(**tables: Any) -> StudyConfig:
    """A study with a parameter of every type; `tables` replace, or add to, the tables of its study file."""
    return parse({**_TABLES, **tables}, "test")


@dataclass(kw_only=True)
class Crew:
    """Workers that train the trials of a study in this process, one at a time and in a random order.

    Args:
        client: The client that they call.
        study: The name of the study.
        train: Their program.
        workers: How many workers there are.
        order: Draws the worker that ends its trial next.
        clock: Advances by `seconds` before each turn.
    """

    client: Client
    study: str
    train: MetricsOf
    workers: int = 2
    order: Random = field(default_factory=lambda: Random(0))
    clock: FakeClock | None = None
    seconds: float = 1.0
    held: dict[str, Start] = field(default_factory=dict)
    lives: Counter[str] = field(default_factory=Counter)
    swept: list[str] = field(default_factory=list)
    ended: Done | None = None

    def identity(self, worker: str) -> WorkerSession:
        """The worker and its current session."""
        return WorkerSession(worker=worker, session=f"life {self.lives[worker]} of {worker}")

    def run(self, turns: int = 10_000) -> None:
        """Trains until no worker receives a trial any more, or for so many turns."""
        for _ in range(turns):
            if not self.turn():
                return

    def turn(self) -> bool:
        """Every idle worker asks for a trial, then one worker ends its trial; False if no worker holds one."""
        if self.clock is not None:
            self.clock.advance(self.seconds)
        for worker in map(str, range(self.workers)):
            if worker not in self.held:
                self.hear(worker, self.client.ask(self.study, self.identity(worker)))
        if self.held:
            self.end(self.order.choice(sorted(self.held)))
            return True
        return False

    def end(self, worker: str) -> Trial:
        """Ends the trial that a worker holds, and takes the worker's next one; returns the trial that ended."""
        trial = self.held[worker].trial
        metrics = self.train(trial)
        try:
            answer = self._tell(trial, metrics, self.identity(worker))
        except LeaseLost:  # the trial has been leased to another worker
            answer = self.client.ask(self.study, self.identity(worker))
        self.hear(worker, answer)
        return trial

    def _tell(self, trial: Trial, metrics: Mapping[str, Any] | None, identity: WorkerSession) -> Answer:
        if metrics is None:
            return self.client.fail(self.study, trial.number, trial.attempt, [], "exit status 3", "oh", identity)
        last = [Measurement(step=trial.end, metrics=metrics)]
        return self.client.complete(self.study, trial.number, trial.attempt, last, checkpoint_of(trial), identity)

    def die(self, worker: str) -> None:
        """Ends a worker without a release; its next ask is in a new session."""
        self.lives[worker] += 1
        self.held.pop(worker, None)

    def hear(self, worker: str, answer: Answer) -> None:
        """Applies the controller's answer to a worker."""
        self.swept += answer.delete
        self.held.pop(worker, None)
        if isinstance(answer, Start):
            self.held[worker] = answer
        elif isinstance(answer, Done):
            self.ended = answer
