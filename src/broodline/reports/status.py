"""How a study stands, as one value, read by a bounded number of queries however long the study is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any

from broodline.config.study import study_from
from broodline.core.next_trial import next_trial
from broodline.core.population import End, NewTrial, Population, Progress, StudyState
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial, TrialState
from broodline.errors import UsageError
from broodline.reports import format as wording
from broodline.reports.records import moment, record
from broodline.storage.base import Transaction
from broodline.storage.study_files import StudyFiles
from broodline.strategies.registry import load_strategy

RECENT = 200  # failures are looked for among so many of the last trials


class StudyStatus(StrEnum):
    """Where a study stands."""

    NEW = "new"
    RUNNING = "running"
    IDLE = "resting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What is spent of one of the budgets.

    Args:
        name: The budget's key in a study file.
        spent, limit: In seconds, trials, generations or steps; of a target, the best value so far, if any, and the target.
        fraction: From 0 to 1; None where it can't be told.
    """

    name: str
    spent: float | None
    limit: float
    fraction: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """How a study stood at one moment.

    Args:
        study: Its definition.
        progress: What it has spent.
        standing: Where it stands, and `reason` why, if it has ended.
        elapsed: Seconds of activity up to now.
        budget: Each budget that is set.
        best: The fittest trial.
        running, pending: The trials that are not finished, by number.
        unsuccessful: The last trials that failed or were stopped, the latest first.
        attention: What somebody should look at, a line each.
        now: The store's clock.
    """

    study: StudyConfig
    progress: Progress
    status: StudyStatus
    reason: str | None
    elapsed: float
    budget: tuple[Spending, ...]
    best: Trial | None
    running: tuple[Trial, ...]
    pending: tuple[Trial, ...]
    unsuccessful: tuple[Trial, ...]
    attention: tuple[str, ...]
    now: float

    @property
    def rate(self) -> float | None:
        """Trials finished a second of activity; None before the first."""
        return self.progress.finished / self.elapsed if self.progress.finished and self.elapsed > 0 else None

    @property
    def unsuccessful_count(self) -> int:
        """How many trials failed or were stopped."""
        return self.progress.finished - self.progress.completed

    def document(self, files: StudyFiles) -> dict[str, Any]:
        """The overview as a JSON value."""
        progress = self.progress
        return {
            "study": self.study.name,
            "state": self.status,
            "reason": self.reason,
            "trials": progress.trials,
            "completed": progress.completed,
            "failed_or_stopped": self.unsuccessful_count,
            "running": [_running_record(trial) for trial in self.running],
            "pending": [trial.number for trial in self.pending],
            **_replay(self.study),
            "steps": progress.steps,
            "elapsed": self.elapsed,
            "trials_per_second": self.rate,
            "budget": {each.name: {"spent": each.spent, "limit": each.limit, "fraction": each.fraction} for each in self.budget},
            "best": None if self.best is None else record(self.best, files),
            "unsuccessful": [{"number": t.number, "state": t.state, "reason": t.reason} for t in self.unsuccessful],
            "attention": list(self.attention),
        }


def read(records: Transaction, *, former: Overview | None = None) -> Overview:
    """Reads how a study stands.

    Args:
        records: A snapshot of the study.
        former: What was read before: failures are only looked for again if there are more of them.
    """
    study, progress, unfinished = study_from(records.definition()), records.progress(), records.unfinished()
    running = tuple(trial for trial in unfinished if trial.state is TrialState.RUNNING)
    best = next(iter(records.best(1)), None)
    elapsed = _elapsed(study, progress, running, records.now)
    end = next_trial(
        study, progress.evolve(elapsed=elapsed), records, strategy=_looked_at(study), worker="", sample_initial=_later
    )
    return Overview(
        study=study,
        progress=progress,
        status=_status(progress, ended=isinstance(end, End), running=running, now=records.now),
        reason=end.reason if isinstance(end, End) else progress.reason,
        elapsed=elapsed,
        budget=_budget(study, progress, elapsed, best),
        best=best,
        running=running,
        pending=tuple(trial for trial in unfinished if trial.state is TrialState.PENDING),
        unsuccessful=_unsuccessful(records, progress, former),
        attention=tuple(_attention(study, unfinished, records.now)),
        now=records.now,
    )


def _replay(study: StudyConfig) -> dict[str, Any]:
    replay = study.replay
    if replay is None:
        return {}
    changed = {"only": None if replay.only is None else list(replay.only), "set": dict(replay.fixed), "seeds": replay.seeds}
    return {"replay": {"study": replay.study, "trial": replay.trial, "copies": study.population, **changed}}


def _looked_at(study: StudyConfig) -> Strategy:
    """The strategy to ask whether the study has ended: only where lineages end by themselves does that depend on its own."""
    try:
        strategy = load_strategy(study.evolution)
    except UsageError:  # of a package that is not installed here
        return _Barren()
    return strategy if strategy.independent_lineages else _Barren()


def _later(*_: object) -> None:
    """No member begins, now."""


class _Barren(Strategy):
    """A strategy without children."""

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        return None


def _status(progress: Progress, *, ended: bool, running: Sequence[Trial], now: float) -> StudyStatus:
    if progress.state is StudyState.FAILED:
        return StudyStatus.FAILED
    if progress.state is StudyState.STOPPED or (progress.state is StudyState.STOPPING and ended):
        return StudyStatus.STOPPED
    if progress.state is StudyState.STOPPING:
        return StudyStatus.STOPPING
    if ended:
        return StudyStatus.DONE
    if any(_is_leased(trial, now) for trial in running):
        return StudyStatus.RUNNING
    return StudyStatus.IDLE if progress.trials else StudyStatus.NEW


def _is_leased(trial: Trial, now: float) -> bool:
    return trial.lease_until is not None and trial.lease_until >= now


def _elapsed(study: StudyConfig, progress: Progress, running: Sequence[Trial], now: float) -> float:
    """The time that was summed, and what the controller will add when it next hears of somebody."""
    since = 0.0 if progress.touched is None else now - progress.touched
    counts = 0 <= since <= study.limits.lease and any(_is_leased(trial, now) for trial in running)
    return progress.elapsed + (since if counts else 0.0)


def _budget(study: StudyConfig, progress: Progress, elapsed: float, best: Trial | None) -> tuple[Spending, ...]:
    budget = study.budget
    spent = {
        "time": (elapsed, budget.time),
        "trials": (progress.trials, budget.trials),
        "generations": (progress.trials / study.population, budget.generations),
        "total_steps": (progress.steps, budget.total_steps),
    }
    spendings = [
        Spending(name=name, spent=used, limit=limit, fraction=min(1.0, used / limit) if limit else 1.0)
        for name, (used, limit) in spent.items()
        if limit is not None
    ]
    return (*spendings, *_target(study, best))


def _target(study: StudyConfig, best: Trial | None) -> list[Spending]:
    target = study.budget.target
    if target is None:
        return []
    if best is None or best.fitness is None:
        return [Spending(name="target", spent=None, limit=target, fraction=None)]
    value = best.fitness[0] / study.objective.goals[0].contribution(1.0)
    reached = study.objective.reached(best.fitness, target)
    return [Spending(name="target", spent=value, limit=target, fraction=1.0 if reached else None)]


def _unsuccessful(records: Transaction, progress: Progress, former: Overview | None) -> tuple[Trial, ...]:
    count = progress.finished - progress.completed
    if former is not None and former.unsuccessful_count == count:
        return former.unsuccessful
    recent = records.trials(after=progress.trials - RECENT - 1, limit=RECENT) if count else ()
    ended = [trial for trial in recent if trial.state in (TrialState.FAILED, TrialState.STOPPED)]
    return tuple(sorted(ended, key=lambda trial: trial.finished or 0.0, reverse=True))


def _attention(study: StudyConfig, unfinished: Sequence[Trial], now: float) -> list[str]:
    lines = []
    for trial in unfinished:
        if trial.lost:
            lines.append(
                f"trial {trial.number} has lost its worker {wording.counted(trial.lost, 'time')} "
                f"(it fails at {study.limits.max_lost})"
            )
        if trial.state is TrialState.RUNNING and trial.reason:
            lines.append(f"trial {trial.number} has been told to stop: {trial.reason.splitlines()[0]}")
        elif trial.failures:
            lines.append(f"trial {trial.number} is tried again: {(trial.reason or 'its program failed').splitlines()[0]}")
        if trial.state is TrialState.RUNNING and not _is_leased(trial, now):
            lines.append(
                f"trial {trial.number}: nothing is heard of worker {trial.worker} since its lease ran out; "
                "who asks next is given the trial"
            )
    return lines


def _running_record(trial: Trial) -> dict[str, Any]:
    return {
        "worker": trial.worker,
        "number": trial.number,
        "member": trial.member,
        "generation": trial.generation,
        "attempt": trial.attempt,
        "since": moment(trial.started),
    }
