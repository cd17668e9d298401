"""The Python API: a study that trains with a Python function."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from broodline.config.study import parse, study_from
from broodline.core.parameters import Param
from broodline.core.study import Budget, Evolution, Retention, Stopping, StudyConfig
from broodline.errors import StoreMissing, StudyNotFound
from broodline.reports.result import Result
from broodline.reports.status import StudyOverview, StudyStatus, read_overview
from broodline.storage.location import location_of
from broodline.studies.fingerprint import has_changed, note
from broodline.studies.reevaluation import Again
from broodline.studies.run import run
from broodline.studies.trainer import Function, setup_for

_log = logging.getLogger(__name__)


class Study:
    """A study: a search space, an objective and a population. `run` trains it with a function.

    Args:
        name: Letters, digits, `.`, `_` and `-`. If the store has a study of this name, `run` resumes it.
        space: Parameters by name: `Float`, `Int`, `Ordered`, `Choice`, or a plain value, which is fixed.
        objective: Metrics by name, each "maximize" or "minimize", or a mapping such as `{"goal": "minimize", "weight": 0.1}`.
        trial_steps: Training steps of a trial.
        population: N, the number of members.
        seed: The seed of the study. It and the number of a trial determine all random decisions about the trial.
        evolution: The strategy, and how it changes hyperparameters.
        stopping: When a running trial is stopped early; None: never.
        checkpoints: The checkpoints to keep when training no longer needs them.
        retries: How often a trial is retried after its function failed.
        max_failures: The study fails if its first trials to finish, this many, all fail; None: min(N, 5).
        store: The URL of the database.
        files: The directory of the checkpoints and logs, for a store that is no SQLite database; None: the one that the store
            records, or `broodline.files` in the current directory. The files of a SQLite store lie next to the database.

    Raises:
        StudyFileError: An argument is wrong.

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
        files: str | os.PathLike[str] | None = None,
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
        self._location = location_of(store, files=None if files is None else Path(files), near=Path())
        parse(self._document, "Study(...)")

    @property
    def result(self) -> Result:
        """The result of the study so far."""
        return self._result_of(self._document["name"])

    def definition(self, *, workers: int = 1, budget: Budget | None = None) -> StudyConfig:
        """The definition of the study, as the store keeps it.

        Args:
            workers: W, the number of worker processes.
            budget: The budget of the whole study; None: no limit.

        Raises:
            StudyFileError: An argument is wrong.
        """
        return parse({**self._document, "workers": workers, "budget": budget or Budget()}, "Study.run(...)")

    def run(
        self,
        train: Function,
        *,
        workers: int = 1,
        budget: Budget | None = None,
        devices: Sequence[str | int] | None = None,
        threads: int = 1,
        show: bool = True,
        fresh: bool = False,
    ) -> Result:
        """Trains until the budget is used up. A study that exists is resumed.

        Args:
            train: Called with a `RunningTrial` in worker processes. It returns the final metrics, or None if it reported them.
            workers: W, the number of worker processes.
            budget: The budget of the whole study; `Budget.unlimited()` trains until the study is stopped. None: the stored
                budget of a study that exists; a new study is unlimited and warns of it.
            devices: Devices, distributed among the workers; None: all that are visible; "none": leave them to the function.
            threads: Threads of numeric libraries in each worker.
            show: Show a live view, or plain lines without a terminal.
            fresh: Delete the study of this name first, if there is one, and start from scratch.

        Returns:
            The result of the study.

        Raises:
            StudyFailed: The function does not work.
            StudyChanged: The store has a study of this name with another definition.
            StudyBusy: Another process is running the study.
            KeyboardInterrupt: The run was interrupted. The same call resumes it.
        """
        setup = setup_for(train, devices=devices, threads=threads)
        stored = self._stored()
        study = self.definition(workers=workers, budget=self._stored_budget(stored) if budget is None else budget)
        if fresh and stored is not None:
            self.delete()
            stored = None
        before = 0 if stored is None else self._overview().progress.finished
        run(study, location=self._location, setup=setup, workers=workers, show=show)
        self._note(train, before)
        return self.result

    def delete(self) -> None:
        """Deletes the study: its records, checkpoints and logs. Other studies in the store stay as they are.

        Raises:
            StudyBusy: A run or a worker trains it.
            StudyNotFound: The study does not exist.
        """
        from broodline.studies.removal import remove

        remove(self._location, self._document["name"])

    def check(
        self,
        train: Function,
        *,
        steps: int | None = None,
        time: str | float | None = None,
        devices: Sequence[str | int] | None = None,
        threads: int = 1,
        show: bool = True,
    ) -> bool:
        """Smoke-tests a function, as `broodline check` does: it trains, saves and restores. It creates no study.

        Args:
            train: As in `run`. It is called in this process, several times.
            steps: Steps of each run; None: `trial_steps`.
            time: The time limit of the whole check, in seconds or as a string such as "30m"; None: 10 minutes.
            devices, threads: As in `run`.
            show: Print each run and each finding.

        Returns:
            True if the function passed.

        Raises:
            UsageError: An argument is wrong.
        """
        from broodline.studies.function_check import check_function

        setup = setup_for(train, devices=devices, threads=threads)
        return check_function(self.definition(), setup, steps=steps, time=time, show=show)

    def reevaluate(self, train: Function, *, count: int = 1, times: int = 5) -> tuple[Again, ...]:
        """Evaluates the best checkpoints again: the best of many noisy scores is too high, because its noise helped it.

        Args:
            train: As in `run`. It is called in this process with 0 steps to train and a fresh seed; its metrics are the result.
            count: How many trials: the fittest that have their checkpoint.
            times: The number of evaluations of each trial.

        Returns:
            The re-evaluations, the fittest trial by its first score first.

        Raises:
            UsageError: No trial has its checkpoint, or the function failed or trained.
            StudyNotFound: The study does not exist yet.
        """
        from broodline.studies.reevaluation import reevaluated, restorable, through_trainer

        setup = setup_for(train)
        with self._location.records(self._document["name"]) as records:
            study, found = study_from(records.definition()), restorable(records, count)
        files = self._location.files_of(study.name)
        with through_trainer(setup.trainer) as evaluate:
            return tuple(reevaluated(study, found, files=files, evaluate=evaluate, times=times))

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
        devices: Sequence[str | int] | None = None,
        threads: int = 1,
        show: bool = True,
    ) -> Result:
        """Retrains a lineage from scratch along its schedule, as a new study. The same call resumes it.

        Args:
            train: As in `run`. It may train on other data.
            trial: The number of the trial whose lineage is retrained; None: the best trial.
            copies: The number of members, each of which retrains the lineage: an ensemble.
            only: The parameters that follow the lineage. The others keep their first value. None: all follow it.
            fixed: Values for parameters that hold for the whole lineage.
            seeds: "recorded": the first copy has the seeds of the source, the others fresh ones. "fresh": all have fresh ones.
            seed: The seed of the replay, from which fresh seeds are drawn; None: derived from the source's seed and the name.
            name: The name of the replay; None: NAME-replay-TRIAL.
            workers, devices, threads, show: As in `run`.

        Returns:
            The result of the replay.

        Raises:
            UsageError: No trial has completed, or the trial or a parameter does not exist.
            StudyChanged: Another study has the name, or the replay exists with other options.
            StudyFailed: The function does not work.
            StudyNotFound: The study does not exist yet.
        """
        from broodline.studies.replay import ReplayOptions, replay_in

        setup = setup_for(train, devices=devices, threads=threads)
        options = ReplayOptions(trial=trial, name=name, copies=copies, only=only, fixed=fixed, seeds=seeds, seed=seed)
        study = replay_in(self._location, self._document["name"], options)
        run(study, location=self._location, setup=setup, workers=workers, show=show)
        return self._result_of(study.name)

    def _stored(self) -> StudyConfig | None:
        """The definition in the store; None for a new study."""
        try:
            with self._location.records(self._document["name"]) as records:
                return study_from(records.definition())
        except (StoreMissing, StudyNotFound):
            return None

    def _stored_budget(self, stored: StudyConfig | None) -> Budget:
        if stored is not None:
            return stored.budget
        self._warn("has no budget and trains until it is stopped; pass budget=Budget(trials=100), or Budget.unlimited()")
        return Budget.unlimited()

    def _overview(self) -> StudyOverview:
        with self._location.records(self._document["name"]) as records:
            return read_overview(records)

    def _note(self, train: Function, before: int) -> None:
        """Records the function that trained, or warns that nothing was left to train."""
        files, after = self._location.files_of(self._document["name"]), self._overview()
        if after.progress.finished != before:
            note(train, files)
        elif after.status is StudyStatus.DONE:
            changed = "the function has changed since it trained, and " if has_changed(train, files) else ""
            again = "raise the budget, or start from scratch with run(..., fresh=True)"
            self._warn(f"is done ({after.reason}): {changed}nothing was left to train; {again}")

    def _warn(self, message: str) -> None:
        name = self._document["name"]
        _log.warning(f"study '{name}' {message}", extra={"study": name, "worker": None, "trial": None})

    def _result_of(self, name: str) -> Result:
        return Result(name, records=partial(self._location.records, name), files=self._location.files_of(name))
