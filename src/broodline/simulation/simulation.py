"""`broodline.simulate`: a study with simulated workers, programs and clock, and its result."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from broodline.config.study_file import read
from broodline.controller.controller import Controller
from broodline.core.strategy import Strategy
from broodline.core.study import Budget, StudyConfig
from broodline.core.trial import Trial
from broodline.errors import StudyFailed, UsageError
from broodline.reports.format import format_duration
from broodline.reports.result import Outcome, Result
from broodline.simulation.clock import VirtualClock
from broodline.simulation.cluster import Cluster
from broodline.simulation.faults import Faults
from broodline.simulation.heartbeats import BeatingStore, Heartbeats
from broodline.simulation.training import Seconds, TrainFunction
from broodline.storage.base import Store, Transaction
from broodline.storage.sqlite.store import SqliteStore
from broodline.strategies.registry import load_strategy
from broodline.studies.api import Study


class Simulation:
    """The result of a simulation. `print` it for a summary.

    Attributes:
        study: The definition of the study.
        ended: The reason why the study ended.
        elapsed: The duration of the study in virtual seconds.
        result: The records of the study, as for a real one: `result.best`, `result.trials`, ...
        states: The states that training returned, by trial, for the trials whose checkpoints exist at the end.
        seconds: Virtual seconds of all workers together, by activity: `trained`, `wasted`, `waited`, `away`.
        faults: The number of times that each fault happened.
        wasted: Steps trained for nothing, by the fault that lost them.
        calls: The number of transactions of the workers.
        damaged: The numbers of the trials whose checkpoint a worker found corrupt.
        store: The store, in memory.
    """

    def __init__(self, study: StudyConfig, cluster: Cluster, store: SqliteStore) -> None:
        accounts = cluster.accounts
        self.study, self.store = study, store
        self.ended = cluster.ended or "no worker is left"
        self.elapsed, self.calls = cluster.now, accounts.calls
        self.seconds: Mapping[str, float] = {name: accounts.seconds[name] for name in ("trained", "wasted", "waited", "away")}
        self.faults: Mapping[str, int] = {name: count for name, count in sorted(accounts.faults.items()) if count}
        self.wasted: Mapping[str, int] = {name: steps for name, steps in sorted(accounts.wasted.items()) if steps}
        self.damaged = frozenset(cluster.attempts.found_corrupt)
        records: Callable[[], AbstractContextManager[Transaction]] = partial(store.snapshot, study.name)
        self.result = Result(study.name, records=records, files=None)
        self.states: Mapping[int, Any] = _states(self.result.trials, cluster.attempts.states)

    @property
    def best(self) -> Outcome:
        """The fittest completed trial.

        Raises:
            StudyFailed: No trial has completed.
        """
        return self.result.best

    @property
    def vain(self) -> Mapping[str, int]:
        """The former name of `wasted`; version 0.3 removes it."""
        warnings.warn("Simulation.vain is now Simulation.wasted", DeprecationWarning, stacklevel=2)
        return self.wasted

    @property
    def utilisation(self) -> float:
        """The share of the time of present workers that went into training which was not wasted."""
        present = sum(self.seconds.values()) - self.seconds["away"]
        return self.seconds["trained"] / present if present else 0.0

    def save(self, path: str | Path) -> None:
        """Writes the store to a new file for the commands: `broodline trials NAME --store sqlite:///PATH`.

        Raises:
            StoreError: The file exists or can't be written.
        """
        self.store.copy_to(Path(path))

    def __str__(self) -> str:
        """A summary in a few lines: duration, activities of the workers, faults, and the best trial."""
        with self.store.snapshot(self.study.name) as records:
            progress = records.progress()
        total = sum(self.seconds.values()) or 1.0
        counted = (("faults", self.faults), ("wasted", {f"steps to {name}": steps for name, steps in self.wasted.items()}))
        lines = [
            f"{progress.trials:,} trials of {self.study.population:,} members on {self.study.workers:,} workers, "
            f"{progress.completed:,} completed, in {format_duration(self.elapsed)} of virtual time",
            f"ended    {self.ended}",
            "workers  " + ", ".join(f"{seconds / total:.1%} {name}" for name, seconds in self.seconds.items()),
        ]
        lines += [
            f"{title:<8} " + ", ".join(f"{n:,} {name}" for name, n in counts.items()) for title, counts in counted if counts
        ]
        return "\n".join([*lines, f"best     {self._describe_best()}"])

    def _describe_best(self) -> str:
        try:
            best = self.best
        except StudyFailed:
            return "no trial has completed"
        goals = [goal.metric for goal in self.study.objective.goals]
        return f"trial {best.trial.number:,}: " + ", ".join(f"{name} = {best.metrics[name]:.6g}" for name in goals)


def simulate(
    study: Study | StudyConfig | str | Path,
    train: TrainFunction,
    *,
    workers: int | Mapping[float, int] | None = None,
    budget: Budget | None = None,
    seconds_per_step: Seconds = 1.0,
    faults: Faults | None = None,
    seed: int = 0,
    strategy: Strategy | None = None,
    call_seconds: float = 0.0,
) -> Simulation:
    """Runs a study in virtual time: the real controller and store; simulated clock, workers and programs.

    The same arguments give the same simulation, with identical records.

    Args:
        study: A `Study`, or the path of a study file. Its programs are not run.
        train: Trains a trial: takes a `SimulatedTrial`, returns its new state (any value that can be copied) and its metrics.
            It is called once for each attempt, when the attempt starts. To simulate a failing program, raise `TrialFailed`.
        workers: W, or the number of workers from a virtual second on: `{0: 10, 3600: 100}`; by default as in the study file.
        budget: The budget of the study; by default as in the study file.
        seconds_per_step: Virtual seconds of a step on a worker of normal speed; a number, or a function of the trial.
        faults: The rates of faults; none by default.
        seed: The seed of all random numbers of the cluster. Decisions follow from the seed of the study.
        strategy: A strategy in place of the one that the study names.
        call_seconds: The duration of a call in virtual seconds, during which no other call is made. A transaction on a disk
            takes about 0.0015.

    Raises:
        UsageError: An argument is wrong, or the budget has no end.
        StudyFailed: The strategy keeps all workers waiting forever.
        AssertionError: A checkpoint was deleted that is still needed.

    Example:
        >>> def train(trial):
        ...     x = (trial.state or 0.0) + trial.params["rate"] * trial.steps
        ...     return x, {"x": x}
        >>> study = broodline.Study(name="walk", space={"rate": broodline.Float(0.0, 1.0)}, objective={"x": "maximize"},
        ...                         trial_steps=10, population=20)
        >>> print(broodline.simulate(study, train, workers=5, budget=broodline.Budget(trials=100)).ended)
        100 trials are done
    """
    sizes = _sizes(workers)
    defined = _defined(study, None if sizes is None else max(sizes.values()), budget)
    _check_strategy(load_strategy(defined.evolution) if strategy is None else strategy, defined)
    clock, heartbeats = VirtualClock(), Heartbeats(defined.limits.lease)
    store = SqliteStore(None, clock=clock)
    # `heartbeats` states why renewals are computed and not sent.
    beating: Store = BeatingStore(store, heartbeats)
    controller = Controller(beating, strategy_of=load_strategy if strategy is None else lambda _evolution: strategy)
    controller.open(defined)
    cluster = Cluster(
        controller=controller,
        study=defined,
        clock=clock,
        heartbeats=heartbeats,
        train=train,
        seconds_per_step=seconds_per_step,
        sizes=sizes or {0.0: defined.workers},
        faults=faults or Faults(),
        seed=seed,
        call_seconds=call_seconds,
    )
    cluster.run()
    return Simulation(defined, cluster, store)


def _sizes(workers: int | Mapping[float, int] | None) -> Mapping[float, int] | None:
    if workers is None:
        return None
    sizes = workers if isinstance(workers, Mapping) else {0.0: workers}
    if not sizes or min(sizes) < 0 or min(sizes.values()) < 0 or max(sizes.values()) < 1:
        raise UsageError(f"simulate: workers: must be at least 1, or a mapping from virtual seconds to numbers, got {workers!r}")
    return sizes


def _defined(study: Study | StudyConfig | str | Path, workers: int | None, budget: Budget | None) -> StudyConfig:
    """The study with the workers and the budget of this simulation."""
    if isinstance(study, Study):
        defined = study.definition(workers=workers or 1, budget=budget)
    else:
        defined = study if isinstance(study, StudyConfig) else read(Path(study)).study
        defined = replace(defined, workers=workers or defined.workers, budget=budget or defined.budget)
    if defined.budget == Budget():
        raise UsageError("simulate: budget: must not be empty, or the study has no end\nhelp: budget=Budget(generations=20)")
    return defined


def _check_strategy(strategy: Strategy, study: StudyConfig) -> None:
    """Refuses a study that its strategy can't run, such as a grid with another budget than that of the study file."""
    if found := strategy.problem(study):
        raise UsageError(f"simulate: {found.key}: {found.problem}")
    strategy.check(study)


def _states(trials: tuple[Trial, ...], states: Mapping[str, Any]) -> Mapping[int, Any]:
    recorded = {trial.number: trial.checkpoint for trial in trials if trial.checkpoint is not None}
    missing = sorted(number for number, checkpoint in recorded.items() if checkpoint not in states)
    assert not missing, f"the checkpoints of trials {missing} are recorded and were deleted"
    return {number: states[checkpoint] for number, checkpoint in recorded.items()}
