"""The Python API: a study whose trials are trained by a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from broodline.definition import parse
from broodline.errors import UsageError
from broodline.model import Budget, Evolution, Retention, Stopping
from broodline.model import Study as Definition
from broodline.places import Place
from broodline.program import EngineOptions
from broodline.results import Result
from broodline.run import run
from broodline.space import Param
from broodline.studyfile import check_strategy
from broodline.trainers.function import FunctionTrainer

if TYPE_CHECKING:
    from broodline.running import RunningTrial

Function = Callable[["RunningTrial"], Mapping[str, Any] | None]


class Study:
    """One optimisation: a search space, an objective and a population; `run` trains it with a function.

    Args:
        name: Letters, digits, `.`, `_` and `-`. A study of this name in the store is gone on with.
        space: Parameters by name: `Float`, `Int`, `Ordered`, `Choice`, or a plain value, which is fixed.
        objective: Metrics by name, each "maximize" or "minimize", or a table such as `{"goal": "minimize", "weight": 0.1}`.
        trial_steps: Steps of training a trial.
        population: N, the number of members.
        seed: All decisions follow from it and the trials' numbers.
        evolution: How children are made.
        stopping: When a running trial is stopped early; None: never.
        checkpoints: Which checkpoints are kept beyond their use.
        retries: How often a trial whose program failed is tried again.
        max_failures: The study fails if this many trials finish first and all of them failed; None: min(N, 5).
        store: The URL of the database.

    Raises:
        StudyFileError: An argument breaks a rule.

    Example:
        >>> study = Study(name="digits", space={"lr": Float(1e-5, 1.0, log=True)}, objective={"accuracy": "maximize"},
        ...               trial_steps=200, population=20)                                    # doctest: +SKIP
        >>> study.run(train, workers=5, budget=Budget(time="30m")).best.params               # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        name: str,
        space: Mapping[str, Param | Any],
        objective: Mapping[str, Any],
        trial_steps: int,
        population: int,
        seed: int = 0,
        evolution: Evolution | None = None,
        stopping: Stopping | None = None,
        checkpoints: Retention | None = None,
        retries: int = 0,
        max_failures: int | None = None,
        store: str = "sqlite:///broodline.db",
    ) -> None:
        limits = {"retries": retries} | ({} if max_failures is None else {"max_failures": max_failures})
        self._document: dict[str, Any] = {
            "name": name,
            "space": space,
            "objective": objective,
            "trial_steps": trial_steps,
            "population": population,
            "seed": seed,
            "evolution": evolution or Evolution(),
            "checkpoints": checkpoints or Retention(),
            "train": limits,
            **({} if stopping is None else {"stopping": stopping}),
        }
        self._place = Place(url=store)
        check_strategy(parse(self._document, "Study(...)"), "Study(...)")

    @property
    def result(self) -> Result:
        """What came out of the study so far."""
        name = self._document["name"]
        return Result(name, records=partial(self._place.records, name), files=self._place.files(name))

    def definition(self, *, workers: int = 1, budget: Budget | None = None) -> Definition:
        """The study as the controller knows it.

        Raises:
            StudyFileError: An argument breaks a rule.
        """
        return parse({**self._document, "workers": workers, "budget": budget or Budget()}, "Study.run(...)")

    def run(
        self,
        train: Function,
        *,
        workers: int = 1,
        budget: Budget | None = None,
        devices: Sequence[str | int] = (),
        threads: int = 1,
        show: bool = True,
    ) -> Result:
        """Trains until the budget is spent; a study that is there already is gone on with.

        Args:
            train: Called with a `RunningTrial`, in worker processes; returns the final metrics, or None if it reported them.
            workers: W, the number of worker processes.
            budget: What the study may spend in all; without one it goes on until it is stopped.
            devices: Handed out among the workers.
            threads: For numeric libraries, each worker.
            show: Show a live view, or plain lines where there is no terminal.

        Raises:
            StudyFailed: The function does not work.
            StudyChanged: The study in the store was defined otherwise.
            StudyBusy: It is being run already.
            KeyboardInterrupt: It was interrupted; the same call goes on where it stopped.
        """
        from broodline.views.live import quiet, watching

        if not callable(train):
            raise UsageError(f"Study.run: {train!r} is not a function")
        study = self.definition(workers=workers, budget=budget)
        run(
            study,
            place=self._place,
            make_trainer=partial(FunctionTrainer, train, capture=True),
            workers=workers,
            options=EngineOptions(devices=tuple(map(str, devices)), threads=threads),
            watch_of=watching(study.name, workers=workers) if show else quiet,
        )
        return self.result
