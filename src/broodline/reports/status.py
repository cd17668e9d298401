"""The overview of a study as one value. Reading it costs a bounded number of queries, however long the study is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any

from broodline.config.study import study_from
from broodline.core.failing import RECENT, commonest_reasons
from broodline.core.next_trial import next_trial
from broodline.core.population import End, NewTrial, Population, Progress, StudyState
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial, TrialState
from broodline.errors import UsageError
from broodline.reports.attention import warnings_of_doubts, warnings_of_trials
from broodline.reports.budget_use import BudgetUse, budget_use
from broodline.reports.records import moment, record
from broodline.storage.base import Transaction
from broodline.storage.study_files import StudyFiles
from broodline.strategies.registry import load_strategy


class StudyStatus(StrEnum):
    """The status of a study.

    `idle`: trials are left to train, and no worker holds a lease. `stopping`: running trials finish, no new one starts.
    """

    NEW = "new"
    RUNNING = "running"
    IDLE = "idle"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOverview:
    """A study at one moment.

    Args:
        study: The definition.
        progress: The trials, steps and seconds used so far.
        status: The status of the study.
        reason: Why the study has ended or is stopping.
        elapsed: Seconds of activity up to now.
        budget: Each budget that is set.
        best: The fittest trial.
        running, pending: The unfinished trials, by number.
        unsuccessful: The last trials that failed or were stopped, the latest first.
        doubtful: How many completed trials seem to have trained nothing.
        attention: Warnings for the user, a line each.
        now: The store's clock.
    """

    study: StudyConfig
    progress: Progress
    status: StudyStatus
    reason: str | None
    elapsed: float
    budget: tuple[BudgetUse, ...]
    best: Trial | None
    running: tuple[Trial, ...]
    pending: tuple[Trial, ...]
    unsuccessful: tuple[Trial, ...]
    doubtful: int
    attention: tuple[str, ...]
    now: float

    @property
    def rate(self) -> float | None:
        """Trials finished a second of activity; None before the first one."""
        return self.progress.finished / self.elapsed if self.progress.finished and self.elapsed > 0 else None

    @property
    def unsuccessful_count(self) -> int:
        """How many trials failed or were stopped."""
        return self.progress.finished - self.progress.completed

    @property
    def failures(self) -> list[tuple[str, int]]:
        """The reasons for which recent trials failed, each with its number of trials, the commonest first."""
        return commonest_reasons(self.unsuccessful)

    @property
    def recent_count(self) -> int:
        """The number of finished trials among which `unsuccessful` was looked for."""
        first = max(0, self.progress.trials - RECENT)
        return self.progress.trials - first - sum(trial.number >= first for trial in (*self.running, *self.pending))

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
            "trained_nothing": self.doubtful,
            "running": [_running_record(self.study, trial) for trial in self.running],
            "pending": [trial.number for trial in self.pending],
            **_replay(self.study),
            "steps": progress.steps,
            "elapsed": self.elapsed,
            "trials_per_second": self.rate,
            "budget": {each.name: {"spent": each.used, "limit": each.limit, "fraction": each.fraction} for each in self.budget},
            "best": None if self.best is None else record(self.best, files),
            "unsuccessful": [{"number": t.number, "state": t.state, "reason": t.reason} for t in self.unsuccessful],
            "failures": {
                "failed": sum(count for _, count in self.failures),
                "of_the_last": self.recent_count,
                "reasons": [{"reason": reason, "trials": count} for reason, count in self.failures],
            },
            "attention": list(self.attention),
        }


def read_overview(records: Transaction, *, former: StudyOverview | None = None) -> StudyOverview:
    """Reads the overview of a study.

    Args:
        records: A snapshot of the study.
        former: The last overview, if any: its failures are read again only if there are more of them by now.
    """
    study, progress, unfinished = study_from(records.definition()), records.progress(), records.unfinished()
    running = tuple(trial for trial in unfinished if trial.state is TrialState.RUNNING)
    best = next(iter(records.best(1)), None)
    elapsed = _elapsed(study, progress, running, records.now)
    doubtful, first = records.doubtful()
    end = next_trial(
        study, progress.evolve(elapsed=elapsed), records, strategy=_strategy_of(study), worker="", sample_initial=_no_new_member
    )
    return StudyOverview(
        study=study,
        progress=progress,
        status=_status(progress, ended=isinstance(end, End), running=running, now=records.now),
        reason=end.reason if isinstance(end, End) else progress.reason,
        elapsed=elapsed,
        budget=budget_use(study, progress, elapsed, best),
        best=best,
        running=running,
        pending=tuple(trial for trial in unfinished if trial.state is TrialState.PENDING),
        unsuccessful=_unsuccessful(records, progress, former),
        doubtful=doubtful,
        attention=(*warnings_of_doubts(doubtful, first, progress), *warnings_of_trials(study, unfinished, records.now)),
        now=records.now,
    )


def _replay(study: StudyConfig) -> dict[str, Any]:
    replay = study.replay
    if replay is None:
        return {}
    changed = {"only": None if replay.only is None else list(replay.only), "set": dict(replay.fixed), "seeds": replay.seeds}
    return {"replay": {"study": replay.study, "trial": replay.trial, "copies": study.population, **changed}}


def _strategy_of(study: StudyConfig) -> Strategy:
    """The strategy that decides whether the study has ended.

    Independent lineages end by their own strategy. All others end with the budget, so a stand-in gives the same answer
    without the cost of a real decision.
    """
    try:
        strategy = load_strategy(study.evolution)
    except UsageError:  # its package is not installed here
        return _Childless()
    return strategy if strategy.independent_lineages else _Childless()


def _no_new_member(*_: object) -> None:
    """Samples no new member: a report never changes a study."""


class _Childless(Strategy):
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
    if any(trial.is_leased(now) for trial in running):
        return StudyStatus.RUNNING
    return StudyStatus.IDLE if progress.trials else StudyStatus.NEW


def _elapsed(study: StudyConfig, progress: Progress, running: Sequence[Trial], now: float) -> float:
    """The recorded seconds of activity, and those that the controller adds at the next call of a worker."""
    # As `controller.progress.touched`, so that `status` shows the time that the budget will count.
    since = 0.0 if progress.touched is None else now - progress.touched
    counts = 0 <= since <= study.limits.lease and any(trial.is_leased(now) for trial in running)
    return progress.elapsed + (since if counts else 0.0)


def _unsuccessful(records: Transaction, progress: Progress, former: StudyOverview | None) -> tuple[Trial, ...]:
    count = progress.finished - progress.completed
    if former is not None and former.unsuccessful_count == count:
        return former.unsuccessful
    # A bounded look back: older failures are in the count, and no index finds the failed trials alone.
    recent = records.trials(after=progress.trials - RECENT - 1, limit=RECENT) if count else ()
    ended = [trial for trial in recent if trial.state in (TrialState.FAILED, TrialState.STOPPED)]
    return tuple(sorted(ended, key=lambda trial: trial.finished or 0.0, reverse=True))


def last_heartbeat(study: StudyConfig, trial: Trial) -> float | None:
    """The time of the last heartbeat of the worker of a running trial, which renewed its lease."""
    return None if trial.lease_until is None else trial.lease_until - study.limits.lease


def _running_record(study: StudyConfig, trial: Trial) -> dict[str, Any]:
    return {
        "worker": trial.worker,
        "host": trial.host,
        "heartbeat": moment(last_heartbeat(study, trial)),
        "number": trial.number,
        "member": trial.member,
        "generation": trial.generation,
        "attempt": trial.attempt,
        "since": moment(trial.started),
    }
