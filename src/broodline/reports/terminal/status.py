"""The overview of a study for a terminal: `status` prints it once, the live view draws it again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from broodline.core.study import StudyConfig
from broodline.core.text import printable
from broodline.core.trial import Trial
from broodline.reports.budget_use import BudgetUse
from broodline.reports.format import (
    format_count,
    format_duration,
    format_outcome,
    format_params,
    format_score,
    format_searched,
    format_value,
)
from broodline.reports.status import StudyOverview, StudyStatus, last_heartbeat
from broodline.reports.terminal.tables import STATE_STYLES, new_table

STYLES: Mapping[StudyStatus, str] = {
    StudyStatus.NEW: "cyan",
    StudyStatus.RUNNING: "cyan",
    StudyStatus.IDLE: "yellow",
    StudyStatus.STOPPING: "yellow",
    StudyStatus.STOPPED: "yellow",
    StudyStatus.DONE: "green",
    StudyStatus.FAILED: "red",
}
_ENDED = (StudyStatus.DONE, StudyStatus.STOPPING, StudyStatus.STOPPED, StudyStatus.FAILED)
_BAR_WIDTH = 40
_SHOWN_FAILURES = 3


def overview_panel(view: StudyOverview) -> Group:
    """The whole overview: headline, budgets, best trial, running trials, and warnings."""
    busy = [workers_table(view.study, view.running, (), view.now)] if view.running else []
    return Group(headline(view), "", *facts(view), *busy, *remarks(view))


def headline(view: StudyOverview, *, rate: float | None = None) -> Text:
    """The study's name, its status and its pace.

    Args:
        view: The overview.
        rate: Trials a second; None: the mean over the study.
    """
    study, pace = view.study, view.rate if rate is None else rate
    text = Text.assemble((study.name, "bold"), "  ", (view.status, STYLES[view.status]))
    if view.reason and view.status in _ENDED:
        text.append(f" ({printable(view.reason).splitlines()[0]})", STYLES[view.status])
    parts = [f"population {study.population}", study.evolution.strategy, format_duration(view.elapsed)]
    if pace is not None:
        parts.append(f"{format_value(float(pace), 3)} trials/s")
    return text.append("  " + ", ".join(parts), "dim")


def facts(view: StudyOverview) -> list[RenderableType]:
    """The budgets, the trials so far, and the best one."""
    made = Table.grid(padding=(0, 2))
    for budget in view.budget:
        bar = "" if budget.fraction is None else ProgressBar(total=1.0, completed=budget.fraction, width=_BAR_WIDTH)
        made.add_row(budget.name, bar, budget_used(budget))
    return [*_replays(view), made, trial_counts(view), *_best(view)]


def budget_used(budget: BudgetUse) -> str:
    """How much of a budget is used, such as `30 of 240`."""
    if budget.name == "target":
        value = "no value yet" if budget.used is None else format_value(budget.used, 5)
        return f"{value}, to reach {format_value(budget.limit, 5)}"
    amount = budget.used or 0
    if budget.name == "time":
        return f"{format_duration(amount)} of {format_duration(budget.limit)}"
    return f"{amount:,.1f} of {budget.limit:,}" if budget.name == "generations" else f"{amount:,} of {budget.limit:,}"


def trial_counts(view: StudyOverview) -> Text:
    """How many trials completed, run, are pending, and failed or were stopped, on one line."""
    text = Text(f"{format_count(view.progress.completed, 'trial')} completed", "green")
    if view.running:
        text.append(f", {len(view.running)} running", "cyan")
    if view.pending:
        text.append(f", {len(view.pending)} pending", "yellow")
    if view.unsuccessful_count:
        text.append(f", {view.unsuccessful_count:,} failed or stopped", "red")
    return text


def workers_table(study: StudyConfig, running: Sequence[Trial], idle: Sequence[str], now: float) -> Table:
    """The workers with their hosts, the trials that they train, and their last heartbeats; a row a worker.

    Args:
        study: The study.
        running: The running trials.
        idle: Names of the workers without a trial.
        now: The store's clock.
    """
    numbers = ("trial", "member", "generation", "steps", "for")
    made = new_table("worker", "host", *numbers, "heartbeat", "params", right=(*numbers, "heartbeat"))
    rows: dict[str, list[str]] = {name: [name, *[""] * 7, "waiting"] for name in idle}
    rows |= {trial.worker or "?": _row(study, trial, now) for trial in running}
    # Workers are mostly named by numbers: 10 comes after 9.
    for name in sorted(rows, key=lambda name: (len(name), name)):
        *short, last = rows[name]
        made.add_row(*short, Text(last, overflow="ellipsis", no_wrap=True))
    return made


def failure_lines(view: StudyOverview) -> list[str]:
    """How many of the recent trials failed, and the commonest reasons; no line if none failed."""
    reasons = view.failures
    if not reasons:
        return []
    failed = sum(count for _, count in reasons)
    rest = sum(count for _, count in reasons[_SHOWN_FAILURES:])
    lines = [f"{failed} of the last {format_count(view.recent_count, 'trial')} failed:"]
    lines += [f"  {format_count(count, 'trial')}: {printable(reason)}" for reason, count in reasons[:_SHOWN_FAILURES]]
    return lines + ([f"  {format_count(rest, 'trial')}: other reasons"] if rest else [])


def remarks(view: StudyOverview) -> list[Text]:
    """The last trials that failed or were stopped, and the warnings, a line each."""
    failures = [(format_outcome(trial), STATE_STYLES[trial.state]) for trial in view.unsuccessful[:_SHOWN_FAILURES]]
    lines = [Text(line, style, overflow="ellipsis", no_wrap=True) for line, style in failures]
    return lines + [Text(f"! {line}", "yellow") for line in view.attention]


def _replays(view: StudyOverview) -> list[RenderableType]:
    replay = view.study.replay
    if replay is None:
        return []
    last = replay.segments[-1]
    how = [f"{format_count(len(replay.segments), 'trial')}, {last.start + last.steps:,} steps", f"seeds {replay.seeds}"]
    how += [] if replay.only is None else [f"only {', '.join(replay.only)}"]
    how += [format_params(replay.fixed)] if replay.fixed else []
    return [Text(f"replay of trial {replay.trial} of study '{replay.study}': {', '.join(how)}")]


def _best(view: StudyOverview) -> list[RenderableType]:
    if view.best is None:
        return []
    where = f"trial {view.best.number}, member {view.best.member}, generation {view.best.generation}, step {view.best.end:,}"
    made = Table.grid(padding=(0, 2))
    made.add_row("best", Text(format_score(view.study, view.best), "bold green"))
    made.add_row("", Text(format_searched(view.study, view.best.params), overflow="fold"))
    made.add_row("", Text(where, "dim"))
    return [made]


def _row(study: StudyConfig, trial: Trial, now: float) -> list[str]:
    location = [str(trial.number), str(trial.member), str(trial.generation), f"{trial.start} → {trial.end}"]
    since = "" if trial.started is None else format_duration(now - trial.started)
    beat = last_heartbeat(study, trial)
    ago = "" if beat is None else f"{format_duration(max(0.0, now - beat))} ago"
    return [trial.worker or "?", trial.host or "", *location, since, ago, format_searched(study, trial.params)]
