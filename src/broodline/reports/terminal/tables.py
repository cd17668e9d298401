"""Trials, lineages and schedules as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from broodline.core.schedule import Schedule
from broodline.core.study import StudyConfig
from broodline.core.text import printable
from broodline.core.trial import Trial, TrialState
from broodline.reports.format import format_changes, format_params, format_score, format_searched, format_value
from broodline.storage.study_files import StudyFiles

STATE_STYLES: Mapping[str, str] = {
    TrialState.PENDING: "yellow",
    TrialState.RUNNING: "cyan",
    TrialState.COMPLETED: "green",
    TrialState.FAILED: "red",
    TrialState.STOPPED: "magenta",
}
_UNBOUNDED = 10_000  # columns
_LEAST_FOLDED = 20  # columns of a terminal: a folded column narrower than this is hard to read


def terminal_console() -> Console:
    """Standard output; only a terminal gets colours and wrapped lines, a pipe or a file gets whole lines."""
    found = Console(highlight=False, markup=False, emoji=False)
    if not found.is_terminal:
        found.width = _UNBOUNDED
    return found


def width(made: Table, found: Console) -> int:
    """The columns of a terminal that a table needs to show every row on one line."""
    return Measurement.get(found, found.options.update(width=_UNBOUNDED), made).maximum


def print_whole(made: Table, found: Console) -> None:
    """Prints a table of numbers. The terminal wraps long lines: a number that is cut off looks like another number."""
    found.width = max(found.width, width(made, found))
    found.print(made)


def print_folded(made: Table, found: Console) -> None:
    """Prints a table and folds its last column to the width of the terminal; a narrow terminal gets `print_whole`."""
    last = max((cell_len(str(cell)) for cell in made.columns[-1].cells), default=0)
    if width(made, found) - last + min(last, _LEAST_FOLDED) > found.width:
        print_whole(made, found)
    else:
        found.print(made)


def new_table(*columns: str, right: Sequence[str] = ()) -> Table:
    """A table without rows.

    Args:
        columns: The heads of the columns.
        right: Those of them that are aligned to the right.
    """
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        # Only strings are folded: a number in two lines would look like two numbers.
        wide = column in ("params", "changes", "reason", "checkpoint")
        made.add_column(column, justify="right" if column in right else "left", no_wrap=not wide, overflow="fold")
    return made


def trials_table(study: StudyConfig, shown: Iterable[Trial]) -> Table:
    """Trials, a row each."""
    numbers = ("trial", "member", "generation", "parent", "steps")
    made = new_table(*numbers[:3], "state", *numbers[3:], "result", "params", right=numbers)
    for trial in shown:
        made.add_row(
            str(trial.number),
            str(trial.member),
            str(trial.generation),
            Text(trial.state, STATE_STYLES[trial.state]),
            "" if trial.parent is None else str(trial.parent),
            f"{trial.start} → {trial.end}",
            format_score(study, trial) or printable(trial.reason or "").partition("\n")[0],
            format_searched(study, trial.params),
        )
    return made


def lineage_table(study: StudyConfig, ancestors: Sequence[Trial]) -> Table:
    """A lineage, the last trial first, and how the params of each trial differ from its parent's."""
    numbers = ("trial", "member", "generation", "steps")
    made = new_table(*numbers, "result", "changes", right=numbers)
    for trial, parent in zip(ancestors, [*ancestors[1:], None], strict=True):
        made.add_row(
            str(trial.number),
            str(trial.member),
            str(trial.generation),
            f"{trial.start} → {trial.end}",
            format_score(study, trial) or trial.state,
            format_params(trial.params) if parent is None else format_changes(trial, parent),
        )
    return made


def schedule_table(learned: Schedule) -> Table:
    """A schedule, a row a segment and a column a parameter; changed values are highlighted."""
    names = list(dict.fromkeys(chain.from_iterable(segment.params for segment in learned.segments)))
    made = new_table("from step", *names, right=("from step", *names))
    before: Mapping[str, object] = learned.segments[0].params
    for segment in learned.segments:
        made.add_row(str(segment.start), *(_cell(before, segment.params, name) for name in names))
        before = segment.params
    return made


def best_blocks(study: StudyConfig, shown: Sequence[Trial], files: StudyFiles) -> Group:
    """The best trials, a block each."""
    return Group(*(_block(_facts_of_best(study, trial, files)) for trial in shown))


def reevaluation_table(study: StudyConfig, shown: Iterable[tuple[Trial, Sequence[float], Sequence[float]]]) -> Table:
    """Trials that were evaluated again: the score that selected them, and the mean and spread of the new scores.

    Args:
        study: The study.
        shown: Trials, each with the mean and the standard deviation of its new fitness, one value a goal.
    """
    made = new_table("trial", "first score", "evaluated again", "spread", "params", right=("trial", "spread"))
    for trial, mean, spread in shown:
        again = format_score(study, trial.evolve(fitness=tuple(mean), metrics=None))
        spreads = ", ".join(f"± {format_value(each, 2)}" for each in spread)
        made.add_row(str(trial.number), format_score(study, trial), again, spreads, format_searched(study, trial.params))
    return made


def _facts_of_best(study: StudyConfig, trial: Trial, files: StudyFiles) -> dict[str, str]:
    metrics = ", ".join(f"{printable(name)} {format_value(each, 5)}" for name, each in (trial.metrics or {}).items())
    return {
        "best": f"{format_score(study, trial)}  (trial {trial.number}, member {trial.member}, generation {trial.generation})",
        "metrics": metrics,
        "params": format_params(trial.params),
        "steps": f"{trial.end:,}",
        "checkpoint": "deleted" if trial.checkpoint is None else str(files.path(trial.checkpoint)),
    }


def _block(facts: Mapping[str, str]) -> Table:
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, fact in facts.items():
        made.add_row(name, fact)
    made.add_row("", "")
    return made


def _cell(before: Mapping[str, object], now: Mapping[str, object], name: str) -> Text:
    changed = name in now and before.get(name) != now[name]
    return Text(format_value(now[name]) if name in now else "", "bold cyan" if changed else "")
