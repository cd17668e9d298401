"""`broodline.simulate`: a study whose workers, programs and clock are simulated; and what came out of it."""

from __future__ import annotations

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
from broodline.simulation.training import Seconds, Train
from broodline.storage.base import Store, Transaction
from broodline.storage.sqlite.store import SqliteStore
from broodline.strategies.registry import load_strategy
from broodline.studies.api import Study


class Simulation:
    """What came out of a simulation; `print` it for a summary.

    Attributes:
        study: The study's definition.
        ended: Why it ended.
        elapsed: Virtual seconds that it took.
        result: The records of the study, as those of a real one: `result.best`, `result.trials`, ...
        states: What training returned, by number, of the trials whose checkpoints are there at the end.
        seconds: Virtual seconds of all workers together, by what they were spent on: `trained`, `in wasted`, `waited`, `away`.
        faults: How often each fault happened.
        vain: Steps that were trained in vain, by what undid them.
        calls: Transactions that the workers made.
        damaged: Numbers of the trials whose checkpoint was found damaged.
        store: The store, in memory.
    """

    def __init__(self, study: StudyConfig, cluster: Cluster, store: SqliteStore) -> None:
        tally = cluster.tally
        self.study, self.store = study, store
        self.ended = cluster.ended or "no worker is left"
        self.elapsed, self.calls = cluster.now, tally.calls
        self.seconds: Mapping[str, float] = {name: tally.seconds[name] for name in ("trained", "in vain", "waited", "away")}
        self.faults: Mapping[str, int] = {name: count for name, count in sorted(tally.faults.items()) if count}
        self.wasted: Mapping[str, int] = {name: steps for name, steps in sorted(tally.wasted.items()) if steps}
        self.damaged = frozenset(cluster.found_damaged)
        records: Callable[[], AbstractContextManager[Transaction]] = partial(store.snapshot, study.name)
        self.result = Result(study.name, records=records, files=None)
        self.states: Mapping[int, Any] = _states(self.result.trials, cluster.states)

    @property
    def best(self) -> Outcome:
        """The fittest completed trial.

        Raises:
            StudyFailed: No trial has completed.
        """
        return self.result.best

    @property
    def utilisation(self) -> float:
        """The share of the time of the workers that were there in which they trained, and not in vain."""
        present = sum(self.seconds.values()) - self.seconds["away"]
        return self.seconds["trained"] / present if present else 0.0

    def save(self, path: str | Path) -> None:
        """Writes the store into a new file, for the commands: `broodline trials NAME --store sqlite:///PATH`.

        Raises:
            StoreError: The file is there already, or can't be written.
        """
        self.store.copy_to(Path(path))

    def __str__(self) -> str:
        """A few lines: how long, what the workers did, what went wrong, and the best trial."""
        with self.store.snapshot(self.study.name) as records:
            progress = records.progress()
        total = sum(self.seconds.values()) or 1.0
        counted = (("faults", self.faults), ("in vain", {f"steps to {name}": steps for name, steps in self.wasted.items()}))
        lines = [
            f"{progress.trials:,} trials of {self.study.population:,} members on {self.study.workers:,} workers, "
            f"{progress.completed:,} completed, in {format_duration(self.elapsed)} of virtual time",
            f"ended    {self.ended}",
            "workers  " + ", ".join(f"{seconds / total:.1%} {name}" for name, seconds in self.seconds.items()),
        ]
        lines += [
            f"{title:<8} " + ", ".join(f"{n:,} {name}" for name, n in counts.items()) for title, counts in counted if counts
        ]
        return "\n".join([*lines, f"best     {self._told_best()}"])

    def _told_best(self) -> str:
        try:
            best = self.best
        except StudyFailed:
            return "none has completed"
        goals = [goal.metric for goal in self.study.objective.goals]
        return f"trial {best.trial.number:,}: " + ", ".join(f"{name} = {best.metrics[name]:.6g}" for name in goals)


def simulate(
    study: Study | StudyConfig | str | Path,
    train: Train,
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

    The same arguments give the same simulation, to the byte of its records.

    Args:
        study: A `Study`, or the path of a study file, whose programs are not run.
        train: Trains a trial: takes a `SimulatedTrial`, returns its new state (anything that can be copied) and its metrics.
            It is called once an attempt, when that begins. To fail as a program does, raise `TrialFailed`.
        workers: W; or how many from a virtual second on, `{0: 10, 3600: 100}`; by default as in the study file.
        budget: What the study may spend; by default as in the study file.
        seconds_per_step: Virtual seconds of a step on a worker of normal speed; a number, or a function of the trial.
        faults: What goes wrong; nothing by default.
        seed: Of all that is drawn in the cluster; decisions follow from the study's own.
        strategy: Who reproduces, in place of the strategy that the study names.
        call_seconds: Virtual seconds for which a call keeps the store busy; calls queue. A transaction on a disk takes 0.0015.

    Raises:
        UsageError: An argument breaks a rule, or the budget has no end.
        StudyFailed: The strategy waits for ever.
        AssertionError: A checkpoint was swept that is still needed.

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
    (load_strategy(defined.evolution.strategy) if strategy is None else strategy).check(defined)
    clock, heartbeats = VirtualClock(), Heartbeats(defined.limits.lease)
    store = SqliteStore(None, clock=clock)
    beating: Store = BeatingStore(store, heartbeats)
    controller = Controller(beating, strategy_of=load_strategy if strategy is None else lambda _name: strategy)
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
        raise UsageError(f"simulate: workers = {workers!r}; it must be a number from 1 on, or such numbers by virtual second")
    return sizes


def _defined(study: Study | StudyConfig | str | Path, workers: int | None, budget: Budget | None) -> StudyConfig:
    """The study with the workers and the budget of this simulation."""
    if isinstance(study, Study):
        defined = study.definition(workers=workers or 1, budget=budget)
    else:
        defined = study if isinstance(study, StudyConfig) else read(Path(study)).study
        defined = replace(defined, workers=workers or defined.workers, budget=budget or defined.budget)
    if defined.budget == Budget():
        raise UsageError("simulate: without a budget a study has no end; give it one, such as budget=Budget(generations=20)")
    return defined


def _states(trials: tuple[Trial, ...], states: Mapping[str, Any]) -> Mapping[int, Any]:
    recorded = {trial.number: trial.checkpoint for trial in trials if trial.checkpoint is not None}
    missing = sorted(number for number, checkpoint in recorded.items() if checkpoint not in states)
    assert not missing, f"the checkpoints of trials {missing} are recorded, and were swept"
    return {number: states[checkpoint] for number, checkpoint in recorded.items()}
