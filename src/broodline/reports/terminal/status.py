"""How a study stands, for people: what `status` prints once, and the live view again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from broodline.core.study import StudyConfig
from broodline.core.trial import Trial
from broodline.reports import format as wording
from broodline.reports.status import Overview, Spending, StudyStatus
from broodline.reports.terminal.tables import STATE_STYLES, table

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


def overview(view: Overview) -> Group:
    """How a study stands."""
    busy = [workers(view.study, view.running, (), view.now)] if view.running else []
    return Group(headline(view), "", *facts(view), *busy, *remarks(view))


def headline(view: Overview, *, rate: float | None = None) -> Text:
    """The study's name, where it stands, how fast it goes.

    Args:
        view: The overview.
        rate: Trials a second; None: the mean over the study.
    """
    study, pace = view.study, view.rate if rate is None else rate
    text = Text.assemble((study.name, "bold"), "  ", (view.status, STYLES[view.status]))
    if view.reason and view.status in _ENDED:
        text.append(f" ({view.reason.splitlines()[0]})", STYLES[view.status])
    told = [f"population {study.population}", study.evolution.strategy, wording.span(view.elapsed)]
    if pace is not None:
        told.append(f"{wording.value(float(pace), 3)} trials/s")
    return text.append("  " + ", ".join(told), "dim")


def facts(view: Overview) -> list[RenderableType]:
    """The budgets, the trials so far, and the best one."""
    made = Table.grid(padding=(0, 2))
    for spending in view.budget:
        bar = "" if spending.fraction is None else ProgressBar(total=1.0, completed=spending.fraction, width=_BAR_WIDTH)
        made.add_row(spending.name, bar, spent(spending))
    return [*_replays(view), made, counts(view), *_best(view)]


def spent(spending: Spending) -> str:
    """How much of a budget is spent, as a text."""
    if spending.name == "target":
        value = "no value yet" if spending.spent is None else wording.value(spending.spent, 5)
        return f"{value}, to reach {wording.value(spending.limit, 5)}"
    amount = spending.spent or 0
    if spending.name == "time":
        return f"{wording.span(amount)} of {wording.span(spending.limit)}"
    return f"{amount:,.1f} of {spending.limit:,}" if spending.name == "generations" else f"{amount:,} of {spending.limit:,}"


def counts(view: Overview) -> Text:
    """How many trials there are of each kind, on one line."""
    text = Text(f"{wording.counted(view.progress.completed, 'trial')} completed", "green")
    if view.running:
        text.append(f", {len(view.running)} running", "cyan")
    if view.pending:
        text.append(f", {len(view.pending)} pending", "yellow")
    if view.unsuccessful_count:
        text.append(f", {view.unsuccessful_count:,} failed or stopped", "red")
    return text


def workers(study: StudyConfig, running: Sequence[Trial], idle: Sequence[str], now: float) -> Table:
    """What each worker does now, a row each.

    Args:
        study: The study.
        running: The running trials.
        idle: Names of workers that have none.
        now: The store's clock.
    """
    numbers = ("trial", "member", "generation", "steps", "for")
    made = table("worker", *numbers, "params", right=numbers)
    rows: dict[str, list[str]] = {name: [name, "", "", "", "", "", "waits"] for name in idle}
    rows |= {trial.worker or "?": _row(study, trial, now) for trial in running}
    for name in sorted(rows, key=lambda name: (len(name), name)):
        *short, last = rows[name]
        made.add_row(*short, Text(last, overflow="ellipsis", no_wrap=True))
    return made


def remarks(view: Overview) -> list[Text]:
    """The last trials that failed or were stopped, and what needs attention, a line each."""
    failures = [(wording.outcome(trial), STATE_STYLES[trial.state]) for trial in view.unsuccessful[:_SHOWN_FAILURES]]
    lines = [Text(line, style, overflow="ellipsis", no_wrap=True) for line, style in failures]
    return lines + [Text(f"! {line}", "yellow") for line in view.attention]


def _replays(view: Overview) -> list[RenderableType]:
    replay = view.study.replay
    if replay is None:
        return []
    last = replay.segments[-1]
    how = [f"{wording.counted(len(replay.segments), 'trial')}, {last.start + last.steps:,} steps", f"seeds {replay.seeds}"]
    how += [] if replay.only is None else [f"only {', '.join(replay.only)}"]
    how += [wording.params(replay.fixed)] if replay.fixed else []
    return [Text(f"replays trial {replay.trial} of study '{replay.study}': {', '.join(how)}")]


def _best(view: Overview) -> list[RenderableType]:
    if view.best is None:
        return []
    where = f"trial {view.best.number}, member {view.best.member}, generation {view.best.generation}, step {view.best.end:,}"
    made = Table.grid(padding=(0, 2))
    made.add_row("best", Text(wording.score(view.study, view.best), "bold green"))
    made.add_row("", Text(wording.searched(view.study, view.best.params), overflow="fold"))
    made.add_row("", Text(where, "dim"))
    return [made]


def _row(study: StudyConfig, trial: Trial, now: float) -> list[str]:
    location = [str(trial.number), str(trial.member), str(trial.generation), f"{trial.start} → {trial.end}"]
    since = "" if trial.started is None else wording.span(now - trial.started)
    return [trial.worker or "?", *location, since, wording.searched(study, trial.params)]
