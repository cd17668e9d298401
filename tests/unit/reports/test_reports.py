"""The reports on a study for people and for scripts, from a real store; the tests turn its clock."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from recorded import Recorded, identity, recorded
from rich.console import Console

from broodline.core.schedule import Schedule, Segment
from broodline.core.trial import Change, Measurement, Trial, TrialState
from broodline.errors import StoreUnavailable
from broodline.reports.format import format_changes, format_duration, format_outcome, format_score, format_value
from broodline.reports.observer import View, observing
from broodline.reports.records import moment, record, to_json
from broodline.reports.status import StudyOverview, StudyStatus, read_overview
from broodline.reports.terminal.live import LiveView, Pace, progress_line, quiet_view, terminal_view
from broodline.reports.terminal.status import overview_panel
from broodline.reports.terminal.tables import (
    best_blocks,
    lineage_table,
    new_table,
    print_folded,
    print_whole,
    schedule_table,
    trials_table,
)
from broodline.storage.base import Store
from broodline.storage.location import files_in
from broodline.storage.sqlite.store import SqliteStore

FIELDS = [
    *("number", "member", "generation", "state", "parent", "initiator", "opponent", "params", "changes", "start", "steps"),
    *("metrics", "fitness", "checkpoint", "worker", "attempt", "reason", "created", "started", "finished"),
]
FILES = files_in(Path("/files"))


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Iterator[Store]:
    with closing(SqliteStore(None, clock=clock)) as store:
        yield store


def overview(study: Recorded, former: StudyOverview | None = None) -> StudyOverview:
    with study.store.snapshot(study.name) as records:
        return read_overview(records, former=former)


def shown(renderable: Any, width: int = 100) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@contextmanager
def shown_on(console: Console, study: Recorded, *, workers: int = 0) -> Iterator[View]:
    """A view of a study for as long as a run would last."""
    view = terminal_view(study.name, workers=workers, console=console)(study.store)
    with observing(study.store, study.name, [view]):
        yield view


def live_view(store: Store, study: str, *, workers: int = 0) -> LiveView:
    return LiveView(store, study, Console(file=StringIO()), workers=workers)


# Records


def test_a_record_has_the_fields_of_the_contract_in_order(store: Store) -> None:
    study = recorded(store)
    study.complete({"accuracy": 0.9})
    assert list(record(study.held("0"), FILES)) == FIELDS


def test_a_running_trial_is_null_where_it_has_nothing_yet(store: Store) -> None:
    found = record(recorded(store).ask(), FILES)
    nothing = {name for name, value in found.items() if value is None}
    assert nothing == {"parent", "initiator", "opponent", "metrics", "fitness", "checkpoint", "reason", "finished"}
    assert (found["state"], found["attempt"], found["worker"]) == ("running", 1, "0")


def test_the_path_of_a_checkpoint_is_absolute_and_null_once_it_is_deleted() -> None:
    trial = Trial(number=7, member=0, generation=0, params={}, steps=1, checkpoint="checkpoints/000007.1")
    assert record(trial, FILES)["checkpoint"] == "/files/checkpoints/000007.1"
    assert record(trial.evolve(checkpoint=None), FILES)["checkpoint"] is None


@pytest.mark.parametrize(("fitness", "told"), [((0.5,), 0.5), ((0.5, -2.0), [0.5, -2.0]), (None, None)])
def test_fitness_is_a_number_or_a_list_for_pareto(fitness: tuple[float, ...] | None, told: object) -> None:
    trial = Trial(number=7, member=0, generation=0, params={}, steps=1, fitness=fitness)
    assert record(trial, FILES)["fitness"] == told


def test_times_are_utc_with_microseconds_and_sort_as_strings() -> None:
    assert moment(1_700_000_000.0) == "2023-11-14T22:13:20.000000Z"
    assert moment(1_700_000_000.25) == "2023-11-14T22:13:20.250000Z"
    assert moment(None) is None


def test_numbers_that_json_does_not_have_are_null() -> None:
    told = to_json({"metrics": {"loss": math.nan, "n": 1}, "fitness": [math.inf, 2.0], "name": "größe"})
    assert json.loads(told, parse_constant=pytest.fail) == {
        "metrics": {"loss": None, "n": 1},
        "fitness": [None, 2.0],
        "name": "größe",
    }


# The overview


def test_a_study_without_trials_is_new(store: Store) -> None:
    view = overview(recorded(store, budget={"trials": 4, "time": "1h"}))
    assert (view.status, view.best, view.running, view.rate) == (StudyStatus.NEW, None, (), None)
    assert {budget.name: budget.fraction for budget in view.budget} == {"time": 0.0, "trials": 0.0}


def test_a_study_with_a_leased_trial_is_running_and_idle_once_the_lease_has_expired(store: Store, clock: Clock) -> None:
    study = recorded(store)
    study.ask("0")
    assert overview(study).status is StudyStatus.RUNNING
    clock.now += 31
    view = overview(study)
    assert view.status is StudyStatus.IDLE
    assert any("worker 0" in line for line in view.attention)


def test_a_study_that_has_used_up_a_budget_is_done_and_names_the_budget(store: Store) -> None:
    study = recorded(store, budget={"trials": 2})
    study.complete({"accuracy": 0.5})
    assert overview(study).status is StudyStatus.RUNNING
    study.complete({"accuracy": 0.6})
    view = overview(study)
    assert (view.status, view.reason) == (StudyStatus.DONE, "2 trials are done")
    assert view.best is not None
    assert view.best.number == 1


def test_a_study_that_is_stopped_stops_when_the_last_trial_is_finished(store: Store) -> None:
    study = recorded(store)
    study.ask("0")
    study.controller.end(study.name, now=False, reason="enough")
    assert overview(study).status is StudyStatus.STOPPING
    study.complete({"accuracy": 0.5})
    assert (overview(study).status, overview(study).reason) == (StudyStatus.STOPPED, "enough")


def test_a_study_whose_first_trials_all_fail_has_failed(store: Store) -> None:
    study = recorded(store, population=1)
    study.fail("exit status 3")
    view = overview(study)
    assert view.status is StudyStatus.FAILED
    assert view.reason is not None
    assert "exit status 3" in view.reason


def test_every_budget_has_its_fraction(store: Store, clock: Clock) -> None:
    study = recorded(store, budget={"time": "100s", "trials": 8, "generations": 4, "total_steps": 200, "target": 0.9})
    study.ask("0")
    clock.now += 25
    study.complete({"accuracy": 0.5})
    fractions = {budget.name: budget.fraction for budget in overview(study).budget}
    assert fractions == {"time": 0.25, "trials": 0.25, "generations": pytest.approx(1 / 6), "total_steps": 0.1, "target": None}
    study.complete({"accuracy": 0.95})
    assert {budget.name: budget.fraction for budget in overview(study).budget}["target"] == 1.0


def test_a_target_is_told_as_the_metric_also_where_less_is_better(store: Store) -> None:
    study = recorded(store, objective={"loss": "minimize"}, budget={"target": 0.1})
    study.complete({"loss": 0.25})
    (budget,) = overview(study).budget
    assert (budget.used, budget.limit) == (0.25, 0.1)


def test_the_time_of_a_running_trial_counts_before_the_next_call_of_its_worker(store: Store, clock: Clock) -> None:
    study = recorded(store)
    study.ask("0")
    clock.now += 12
    assert overview(study).elapsed == 12.0


def test_failures_are_shown_with_their_reason_the_last_first(store: Store, clock: Clock) -> None:
    study = recorded(store)
    study.complete({"accuracy": 0.5})
    for reason in ("exit status 1", "no checkpoint"):
        clock.now += 1
        study.fail(reason)
    view = overview(study)
    assert [trial.reason for trial in view.unsuccessful] == ["no checkpoint", "exit status 1"]
    assert view.unsuccessful_count == 2
    assert "trial 2 failed: no checkpoint" in shown(overview_panel(view))


def test_a_trial_that_is_being_stopped_and_one_that_was_stopped_are_shown_with_the_reason(store: Store) -> None:
    study = recorded(store, stopping={"rule": "median", "min_trials": 1})
    for accuracy in (0.5, 0.25):
        trial = study.held("0")
        measured = [Measurement(step=4, metrics={"accuracy": accuracy})]
        study.controller.report(study.name, trial.number, trial.attempt, measured, 1)
        if trial.number == 0:
            study.complete({"accuracy": 0.5})
    why = "at step 4 its fitness, 0.25, is below 0.5, the median of 1 others"
    assert f"! trial 1 is being stopped early: {why}" in shown(overview_panel(overview(study)))
    study.controller.stop(study.name, 1, 1, [], identity("0"))
    assert f"trial 1 stopped: {why}" in shown(overview_panel(overview(study)))
    with study.store.snapshot(study.name) as records:
        (_, stopped, *_) = records.trials()
    assert why in shown(trials_table(overview(study).study, [stopped]), width=300)


def test_failures_are_read_again_only_when_there_are_more(store: Store) -> None:
    study = recorded(store)
    study.complete({"accuracy": 0.5})
    study.fail("exit status 1")
    former = overview(study)
    study.complete({"accuracy": 0.6})
    assert overview(study, former).unsuccessful is former.unsuccessful
    study.fail("exit status 2")
    assert len(overview(study, former).unsuccessful) == 2


def test_a_trial_that_lost_its_worker_is_pointed_at(store: Store) -> None:
    study = recorded(store)
    study.ask("0")
    study.controller.release(study.name, ["session of 0"], lost=True)
    view = overview(study)
    assert [trial.number for trial in view.pending] == [0]
    assert view.attention == ("trial 0 has lost its worker 1 time (fails at 3)",)


def test_a_trial_that_is_tried_again_is_pointed_at(store: Store) -> None:
    study = recorded(store, train={"retries": 1})
    study.fail("exit status 1\nmore")
    study.controller.release(study.name, ["session of 0"])
    assert overview(study).attention == ("trial 0 is being retried: its program failed",)


def test_an_overview_as_a_document_is_json(store: Store) -> None:
    study = recorded(store, budget={"trials": 9})
    study.complete({"accuracy": 0.5})
    document = json.loads(to_json(overview(study).document(FILES)))
    assert document["state"] == "running"
    assert document["budget"] == {"trials": {"spent": 2, "limit": 9, "fraction": pytest.approx(2 / 9)}}
    assert document["best"]["number"] == 0
    assert [(each["worker"], each["number"]) for each in document["running"]] == [("0", 1)]


def test_reading_an_overview_costs_as_many_statements_in_a_long_study(store: Store) -> None:
    study = recorded(store)
    counts = []
    for trials in (5, 60):
        while study.held("0").number < trials:
            study.complete({"accuracy": 0.5})
        with store.snapshot(study.name) as records:
            asked = _counting(records)
            read_overview(records)
            counts.append(asked)
    assert counts[0] == counts[1]
    assert "trials" not in counts[1]


def _counting(records: Any) -> dict[str, int]:
    """Counts the queries of a snapshot from now on."""
    asked: dict[str, int] = {}

    def counted(name: str, method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            asked[name] = asked.get(name, 0) + 1
            return method(*args, **kwargs)

        return call

    for name in ("trials", "trial", "best", "unfinished", "of_generation", "last_completed", "measurements"):
        setattr(records, name, counted(name, getattr(records, name)))
    return asked


# The live view


def test_the_live_view_shows_budget_best_and_a_row_for_each_worker(store: Store) -> None:
    study = recorded(store, budget={"trials": 8})
    study.complete({"accuracy": 0.875}, "0")
    study.ask("1")
    text = shown(live_view(store, study.name, workers=3).frame(40))
    assert "digits  running" in text
    assert "3 of 8" in text
    assert "accuracy 0.875" in text
    rows = [line.strip("│ ").split() for line in text.partition("worker")[2].splitlines()]
    assert [row[:2] for row in rows if row and row[0] in "012"] == [["0", "1"], ["1", "2"], ["2", "waiting"]]


def test_tables_leave_out_the_params_that_a_study_fixes(store: Store) -> None:
    study = recorded(store, space={"lr": {"float": [0.1, 1.0]}, "width": 64})
    first = study.complete({"accuracy": 0.5}, "0")
    study.ask("1")
    view = overview(study)
    for listed in (overview_panel(view), trials_table(view.study, [first])):
        assert "lr 0." in shown(listed, 200)
        assert "width" not in shown(listed, 200)
    assert "width 64" in shown(best_blocks(view.study, [first], FILES), 200)


def test_the_live_view_fits_a_small_terminal(store: Store) -> None:
    study = recorded(store, population=30)
    for worker in range(30):
        study.ask(str(worker))
    lines = shown(live_view(store, study.name, workers=30).frame(24)).splitlines()
    assert len(lines) <= 24
    assert "and 22 more" in "".join(lines)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_live_view_keeps_to_the_width(store: Store, width: int) -> None:
    study = recorded(store, budget={"trials": 8, "time": "1h"})
    study.complete({"accuracy": 0.875})
    study.fail("a reason that is rather long and would not fit into the width of such a terminal at all")
    assert {len(line) for line in shown(live_view(store, study.name, workers=3).frame(40), width).splitlines()} == {width}


def test_the_live_view_shows_that_the_store_does_not_answer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study = recorded(store)
    view = live_view(store, study.name)
    view.frame(40)

    def locked(_name: str) -> None:
        raise StoreUnavailable("database is locked")

    monkeypatch.setattr(store, "snapshot", locked)
    text = shown(view.frame(40))
    assert "digits" in text
    assert "database is locked" in text


def test_the_pace_is_that_of_the_last_half_minute() -> None:
    pace = Pace()
    rates = [pace.rate(second, 10 * second if second < 60 else 600) for second in range(100)]
    assert rates[0] is None
    assert rates[59] == 10.0
    assert rates[75] == pytest.approx(5.0)
    assert rates[99] is None


def test_without_a_terminal_a_run_ends_with_a_plain_line(store: Store) -> None:
    study = recorded(store, budget={"trials": 3})
    console = Console(file=StringIO(), width=10_000)
    with shown_on(console, study) as view:
        view.refresh()
        view.say("worker 0: [bold]the disk is full[/bold]")
        study.complete({"accuracy": 0.5})
    assert isinstance(console.file, StringIO)
    said, last = console.file.getvalue().splitlines()
    assert "the disk is full" in said
    assert "1 trial completed, 1 running" in last
    assert "trials 2 of 3" in last
    assert "best accuracy 0.5 (trial 0)" in last


def test_in_a_terminal_messages_of_workers_stay_above_the_view(store: Store) -> None:
    study = recorded(store, budget={"trials": 3})
    study.ask("0")
    console = Console(file=StringIO(), width=80, height=30, force_terminal=True, legacy_windows=False, _environ={})
    with shown_on(console, study, workers=1) as view:
        view.refresh()
        view.say("the disk is full")
        view.refresh()
    assert isinstance(console.file, StringIO)
    output = console.file.getvalue()
    assert "1 of 3" in output
    assert "the disk is full\n" in output
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l"), "the cursor is shown again"


def test_the_quiet_view_writes_to_standard_error_only(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    view = quiet_view(store)
    with observing(store, recorded(store).name, [view]) as observation:
        observation.refresh()
        view.say("worker 0 died")
    assert capsys.readouterr() == ("", "worker 0 died\n")


def test_the_plain_line_of_a_new_study(store: Store) -> None:
    assert progress_line(overview(recorded(store, budget={"trials": 9}))) == "0.0s  0 trials completed  trials 0 of 9"


# Tables and formats


def test_a_lineage_is_shown_with_what_happened_to_each_parameter(store: Store) -> None:
    study = recorded(store)
    parent = study.ask()
    child = parent.evolve(number=1, params={"lr": 0.5, "width": 64}, changes={"lr": Change.MUTATED, "width": Change.KEPT})
    before = format_value(parent.params["lr"])
    assert format_changes(child, parent) == f"lr mutated {before} → 0.5"
    text = shown(lineage_table(overview(study).study, [child, parent]))
    assert f"lr mutated {before} → 0.5" in text
    assert f"lr {before}, width 64" in text


def test_scores_are_shown_in_the_metrics_of_the_user(store: Store) -> None:
    def score(objective: dict[str, Any], metrics: dict[str, float]) -> str:
        name = f"s{len(store.studies())}"
        study = recorded(store, name=name, objective=objective)
        study.complete(metrics)
        view = overview(study)
        assert view.best is not None
        return format_score(view.study, view.best)

    weighted = {name: {"goal": goal, "weight": 0.5} for name, goal in (("a", "maximize"), ("b", "minimize"))}
    assert score({"loss": "minimize"}, {"loss": 0.25}) == "loss 0.25"
    assert score({"a": "maximize", "b": "minimize"}, {"a": 1.0, "b": 3.0}) == "a 1, b 3"
    assert score(weighted, {"a": 1.0, "b": 3.0}) == "-1 (a 1, b 3)"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0.0s"), (9.94, "9.9s"), (59.4, "59s"), (59.6, "1m 00s"), (3599.9, "1h 00m"), (5400, "1h 30m"), (90000, "1d 01h")],
)
def test_durations(seconds: float, told: str) -> None:
    assert format_duration(seconds) == told


@pytest.mark.parametrize(
    ("value", "told"), [(0.0123456, "0.01235"), (64, "64"), (True, "true"), ("adam", "adam"), (None, "null")]
)
def test_values(value: object, told: str) -> None:
    assert format_value(value) == told


def test_an_outcome_is_one_line() -> None:
    trial = Trial(number=3, member=0, generation=0, params={}, steps=1, state=TrialState.FAILED, reason="exit 1\nTraceback")
    assert format_outcome(trial) == "trial 3 failed: exit 1"


@pytest.mark.parametrize("width", [20, 80])
def test_a_schedule_of_many_params_is_shown_whole_in_a_narrow_terminal(width: int) -> None:
    names = [f"parameter_{number}" for number in range(9)]
    learned = Schedule(segments=(Segment(start=0, params={name: 0.001234 + n / 1000 for n, name in enumerate(names)}),), end=10)
    console = Console(file=StringIO(), width=width, force_terminal=True, color_system=None, _environ={})
    print_whole(schedule_table(learned), console)
    assert isinstance(console.file, StringIO)
    assert all(told in console.file.getvalue() for told in (*names, "0.001234", "0.009234"))


@pytest.mark.parametrize(("width", "lines"), [(30, 1), (50, 2)])
def test_a_long_cell_is_folded_or_wrapped_and_never_left_out(width: int, lines: int) -> None:
    made = new_table("a number in a wide column", "params", right=["a number in a wide column"])
    made.add_row("1", "one two three four five six seven eight")
    console = Console(file=StringIO(), width=width, force_terminal=True, color_system=None, _environ={})
    print_folded(made, console)
    assert isinstance(console.file, StringIO)
    rows = [line for line in console.file.getvalue().splitlines() if re.search("one|eight", line)]
    assert len(rows) == lines
    assert " ".join(rows).split()[1:] == ["one", "two", "three", "four", "five", "six", "seven", "eight"]
