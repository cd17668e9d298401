"""The Python API: a study whose trials are trained by a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from broodline.config.programs import EngineOptions
from broodline.config.study import parse
from broodline.config.study_file import check_strategy
from broodline.core.parameters import Param
from broodline.core.study import Budget, Evolution, Retention, Stopping, StudyConfig
from broodline.errors import UsageError
from broodline.reports.result import Result
from broodline.storage.location import StudyLocation
from broodline.studies.run import run
from broodline.studies.trainer import function_trainer

if TYPE_CHECKING:
    from broodline.workers.running_trial import RunningTrial

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
        self._location = StudyLocation(url=store)
        check_strategy(parse(self._document, "Study(...)"), "Study(...)")

    @property
    def result(self) -> Result:
        """What came out of the study so far."""
        return self._result_of(self._document["name"])

    def _result_of(self, name: str) -> Result:
        return Result(name, records=partial(self._location.records, name), files=self._location.files(name))

    def definition(self, *, workers: int = 1, budget: Budget | None = None) -> StudyConfig:
        """The study as the controller knows it.

        Raises:
            StudyFileError: An argument breaks a rule.
        """
        return parse({**self._document, "workers": workers, "budget": budget or Budget()}, "Study.run(...)")

    def replay(
        self,
        train: Function,
        *,
        trial: int | None = None,
        copies: int = 1,
        only: Sequence[str] | None = None,
        fixed: Mapping[str, Any] | None = None,
        seeds: str = "recorded",
        seed: int | None = None,
        name: str | None = None,
        workers: int = 1,
        devices: Sequence[str | int] = (),
        threads: int = 1,
        show: bool = True,
    ) -> Result:
        """Trains a lineage again along its schedule, as a study of its own; the same call goes on with it.

        Args:
            train: As of `run`; it may train on other data.
            trial: Whose lineage; None: the best trial's.
            copies: How often, each for itself: an ensemble.
            only: The parameters that follow the lineage; the others stay as they were at its beginning. None: all follow it.
            fixed: Parameters that have these values all along.
            seeds: "recorded": the first copy has the seeds of the source, the others fresh ones; "fresh": all have fresh ones.
            seed: Fresh seeds follow from it; None: from the source's seed and the name.
            name: Of the replay; None: NAME-replay-TRIAL.
            workers, devices, threads, show: As of `run`.

        Returns:
            What came out of the replay.

        Raises:
            UsageError: No trial has completed, or there is no such trial or parameter.
            StudyChanged: Another study has the name, or the replay was begun otherwise.
            StudyFailed: The function does not work.
            StudyNotFound: The study has not been run.
        """
        from broodline.reports.terminal.live import quiet, watching
        from broodline.studies.replay import ReplayOptions, replay_in

        if not callable(train):
            raise UsageError(f"Study.replay: {train!r} is not a function")
        options = ReplayOptions(trial=trial, name=name, copies=copies, only=only, fixed=fixed, seeds=seeds, seed=seed)
        study = replay_in(self._location, self._document["name"], options)
        run(
            study,
            location=self._location,
            trainer=function_trainer(train),
            workers=workers,
            options=EngineOptions(devices=tuple(map(str, devices)), threads=threads),
            watch_of=watching(study.name, workers=workers) if show else quiet,
        )
        return self._result_of(study.name)

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
        from broodline.reports.terminal.live import quiet, watching

        if not callable(train):
            raise UsageError(f"Study.run: {train!r} is not a function")
        study = self.definition(workers=workers, budget=budget)
        run(
            study,
            location=self._location,
            trainer=function_trainer(train),
            workers=workers,
            options=EngineOptions(devices=tuple(map(str, devices)), threads=threads),
            watch_of=watching(study.name, workers=workers) if show else quiet,
        )
        return self.result
