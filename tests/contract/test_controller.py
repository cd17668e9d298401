"""The controller, asked and told what workers ask and tell: whole studies, and everything that can go wrong in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from itertools import count, pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given as given_that
from hypothesis import strategies as st

from broodline.controller.client import Answer, Done, Signal, Start, Wait, WorkerSession
from broodline.controller.controller import Controller
from broodline.core.population import Progress, StudyState
from broodline.core.trial import Measurement, Trial, TrialState
from broodline.errors import LeaseLost, StudyChanged, StudyNotFound
from broodline.storage.base import Store
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing import Crash, CrashingStore, Crew, FakeClock, Moment, check_invariants, checkpoint_of, study_from_tables

LEASE = 10.0
STRATEGIES: Mapping[str, dict[str, Any]] = {
    "initiator": {"strategy": "initiator"},
    "generational": {"strategy": "generational", "parents": 2},
    "random": {"strategy": "random"},
}
PATIENT = {"max_failures": 10**6}


class Played:
    """One study, and what workers tell its controller by hand."""

    def __init__(self, store: Store, clock: FakeClock, tables: Mapping[str, Any]) -> None:
        self.store, self.clock, self.crashing = store, clock, CrashingStore(store)
        self.controller = Controller(self.crashing)
        self.lives: Counter[str] = Counter()
        self.reports = count(1)
        self.open(**tables)

    def open(self, **tables: Any) -> None:
        study = study_from_tables(**{"engine": {"lease": LEASE}, **tables})
        self.controller.open(study)
        self.name = study.name

    def identity(self, worker: str = "0") -> WorkerSession:
        return WorkerSession(worker=worker, session=f"{worker} in life {self.lives[worker]}")

    def answer(self, worker: str = "0") -> Answer:
        return self.controller.ask(self.name, self.identity(worker))

    def ask(self, worker: str = "0") -> Trial:
        return given(self.answer(worker))

    def complete(self, trial: Trial, worker: str = "0", **metrics: Any) -> Answer:
        last = [Measurement(step=trial.end, metrics=metrics or {"score": 1.0})]
        return self.controller.complete(self.name, trial.number, trial.attempt, last, checkpoint_of(trial), self.identity(worker))

    def fail(self, trial: Trial, worker: str = "0", reason: str = "exit status 3") -> Answer:
        return self.controller.fail(self.name, trial.number, trial.attempt, [], reason, "the tail", self.identity(worker))

    def stop(self, trial: Trial, *steps: int, worker: str = "0") -> Answer:
        reported = [Measurement(step=step, metrics={"score": 0.5}) for step in steps]
        return self.controller.stop(self.name, trial.number, trial.attempt, reported, self.identity(worker))

    def measure(self, trial: Trial, step: int, score: float) -> Signal:
        measured = [Measurement(step=step, metrics={"score": score})]
        return self.controller.report(self.name, trial.number, trial.attempt, measured, next(self.reports))

    def report(self, trial: Trial, *steps: int) -> Signal:
        reported = [Measurement(step=step, metrics={"score": float(step)}) for step in steps]
        return self.controller.report(self.name, trial.number, trial.attempt, reported, next(self.reports))

    def crew(self, train: Callable[[Trial], Mapping[str, Any] | None], workers: int = 3, order: int = 0) -> Crew:
        return Crew(
            client=self.controller,
            study=self.name,
            train=train,
            workers=workers,
            order=Random(order),
            clock=self.clock,
            seconds=0.5,
        )

    def trial(self, number: int) -> Trial:
        return self.trials()[number]

    def trials(self) -> list[Trial]:
        with self.store.snapshot(self.name) as records:
            return list(records.trials())

    def progress(self) -> Progress:
        with self.store.snapshot(self.name) as records:
            return records.progress()

    def measured(self, number: int) -> list[int]:
        with self.store.snapshot(self.name) as records:
            return [measurement.step for measurement in records.measurements(number)]


def given(answer: Answer) -> Trial:
    assert isinstance(answer, Start)
    return answer.trial


def by_params(trial: Trial) -> dict[str, Any]:
    return {"score": trial.params["lr"]}


Begin = Callable[..., Played]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def begin(clock: FakeClock) -> Iterator[Begin]:
    """Begins a study with these tables; everything that holds of records holds at the end of the test."""
    with closing(SqliteStore(None, clock=clock)) as store:
        yield lambda **tables: Played(store, clock, tables)
        for study in store.studies():
            check_invariants(store, study)


# Whole studies


@pytest.mark.parametrize("evolution", STRATEGIES.values(), ids=list(STRATEGIES))
@pytest.mark.parametrize("seed", range(4))
def test_a_study_is_trained_to_its_end_whatever_happens_to_workers_and_programs(
    begin: Begin, evolution: dict[str, Any], seed: int
) -> None:
    chance = Random(seed)
    study = begin(evolution=evolution, budget={"trials": 60}, train={**PATIENT, "retries": seed % 2}, seed=seed)
    outcomes: list[Any] = [None, {"score": float("nan")}, {}, *({"score": n} for n in range(6))]
    crew = study.crew(lambda _: chance.choice(outcomes), workers=2 + 2 * seed, order=seed)
    while crew.turn():
        check_invariants(study.store, study.name)
        if crew.held and chance.random() < 0.1:
            crew.die(chance.choice(sorted(crew.held)))
        if chance.random() < 0.1:
            study.clock.advance(chance.choice([LEASE / 2, 2 * LEASE]))
        if crew.held and chance.random() < 0.1:
            leaving = chance.choice(sorted(crew.held))
            study.controller.release(study.name, [crew.identity(leaving).session])
            del crew.held[leaving]
    assert isinstance(crew.ended, Done)
    assert len(study.trials()) == 60
    assert all(trial.state.finished for trial in study.trials())


def test_opponents_are_uniform_over_the_last_two_completed_of_every_other_member(begin: Begin) -> None:
    study = begin(population=4, budget={"trials": 1000}, checkpoints={"keep_all": True})
    study.crew(by_params, workers=2).run()
    trials, met = study.trials(), Counter[int]()
    for child in trials[24:]:
        done = [
            each for each in trials if each.finished is not None and each.finished <= child.created and each.number < child.number
        ]
        others = [[each.number for each in done if each.member == member] for member in range(4) if member != child.member]
        candidates = sorted(number for own in others for number in own[-2:])
        assert child.opponent is not None
        met[candidates.index(child.opponent)] += 1
    expected = sum(met.values()) / 6
    assert sum((met[place] - expected) ** 2 / expected for place in range(6)) < 20.5  # chi-square with 5 degrees: 1 in 1000


def test_a_child_starts_where_its_parent_ended_even_beyond_its_planned_steps(begin: Begin) -> None:
    study = begin(population=1)
    first = study.ask()
    last = [Measurement(step=17, metrics={"score": 1.0})]
    child = given(study.controller.complete(study.name, 0, 1, last, checkpoint_of(first), study.identity()))
    assert (study.trial(0).steps, child.start, child.end) == (17, 17, 27)
    assert study.progress().steps == 27


# Repeated calls


ENDS: dict[str, Callable[[Played, Trial], Answer]] = {
    "complete": lambda study, trial: study.complete(trial),
    "complete without a finite metric": lambda study, trial: study.complete(trial, score=float("nan")),
    "fail": lambda study, trial: study.fail(trial),
    "stop": lambda study, trial: study.stop(trial, 3),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
def test_a_repeated_final_report_gets_the_same_trial_and_changes_nothing(
    begin: Begin, end: Callable[[Played, Trial], Answer]
) -> None:
    study = begin(train=PATIENT)
    first = study.ask()
    once = given(end(study, first))
    rows, spent, measured = study.trials(), study.progress(), study.measured(0)
    assert given(end(study, first)) == once
    assert (study.trials(), study.progress(), study.measured(0)) == (rows, spent, measured)


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
def test_a_call_that_is_repeated_after_a_crash_has_one_effect(
    begin: Begin, end: Callable[[Played, Trial], Answer], moment: Moment
) -> None:
    study = begin(train=PATIENT)
    first, before = study.ask(), study.trials()
    study.crashing.crash = moment
    with pytest.raises(Crash):
        end(study, first)
    assert (study.trials() == before) == (moment is Moment.BEFORE_COMMIT)
    assert given(end(study, first)).number == 1
    assert [trial.state.finished for trial in study.trials()] == [True, False]
    assert study.progress().finished == 1


@pytest.mark.parametrize("tell", [ENDS["fail"], ENDS["complete without a finite metric"]])
def test_a_repeated_report_of_a_failure_counts_once(begin: Begin, tell: Callable[[Played, Trial], Answer]) -> None:
    study = begin(train={"retries": 5})
    first = study.ask()
    study.controller.end(study.name, now=False, reason="enough")  # so that it stays pending
    for _ in range(3):
        assert isinstance(tell(study, first), Done)
    assert (study.trial(0).state, study.trial(0).failures) == (TrialState.PENDING, 1)


def test_a_late_completion_is_answered_with_the_trial_that_the_worker_holds_now(begin: Begin) -> None:
    study = begin()
    late = study.ask()
    study.clock.advance(2 * LEASE)
    held = given(study.answer("other"))
    assert (held.number, held.attempt) == (0, 2)
    second = study.ask()
    assert second.number == 1
    with pytest.raises(LeaseLost):
        study.complete(late)
    study.clock.advance(2 * LEASE)
    third = study.ask()  # holding 1, whose lease it renews
    assert (third.number, third.attempt) == (1, 1)
    assert given(study.complete(held)) == third


@pytest.mark.parametrize("other", ENDS.values(), ids=list(ENDS))
@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
def test_a_finished_trial_keeps_its_first_outcome(
    begin: Begin, end: Callable[[Played, Trial], Answer], other: Callable[[Played, Trial], Answer]
) -> None:
    study = begin(train=PATIENT)
    first = study.ask()
    end(study, first)
    before, spent, measured = study.trial(0), study.progress(), study.measured(0)
    with suppress(LeaseLost):
        other(study, first)
    assert (study.trial(0), study.progress(), study.measured(0)) == (before, spent, measured)


@pytest.mark.parametrize(
    ("end", "others"), [("complete", ["fail", "stop"]), ("fail", ["complete", "stop"]), ("stop", ["complete"])]
)
def test_a_second_outcome_is_refused_and_the_error_names_the_first(begin: Begin, end: str, others: list[str]) -> None:
    study = begin(train=PATIENT)
    first = study.ask()
    ENDS[end](study, first)
    for other in others:
        with pytest.raises(LeaseLost, match=rf"trial 0 is {study.trial(0).state}"):
            ENDS[other](study, first)


# Leases


def test_an_ask_in_the_same_session_gets_the_same_attempt_and_a_longer_lease(begin: Begin) -> None:
    study = begin()
    first = study.ask()
    study.clock.advance(5)
    assert study.ask() == first.evolve(lease_until=(first.lease_until or 0) + 5)


def test_an_ask_in_another_session_gets_the_next_attempt_at_the_same_trial(begin: Begin) -> None:
    study = begin()
    first = study.ask()
    study.lives["0"] += 1
    again = study.ask()
    assert (again.number, again.attempt, again.lost) == (0, 2, 1)
    assert (again.params, again.seed, again.parent, again.start) == (first.params, first.seed, first.parent, first.start)
    with pytest.raises(LeaseLost, match="attempt 1 has been superseded by attempt 2"):
        study.complete(first)
    with pytest.raises(LeaseLost):
        study.report(first, 3)


@pytest.mark.parametrize("signs", ["renew", "report", "none"])
def test_a_lease_expires_unless_it_is_renewed_or_the_trial_reports(begin: Begin, signs: str) -> None:
    study = begin()
    first = study.ask()
    for _ in range(3):
        study.clock.advance(0.6 * LEASE)
        if signs == "renew":
            study.controller.renew(study.name, [study.identity().session])
        if signs == "report":
            study.report(first, 3)
    assert study.ask("1").number == (0 if signs == "none" else 1)


def test_a_completion_after_the_lease_counts_while_no_other_worker_has_the_trial(begin: Begin) -> None:
    study = begin(population=1, budget={"trials": 1})
    first = study.ask()
    study.clock.advance(100 * LEASE)
    study.complete(first)
    assert (study.trial(0).state, study.trial(0).lost) == (TrialState.COMPLETED, 0)


def test_a_silent_worker_keeps_its_trial_until_another_worker_asks(begin: Begin) -> None:
    study = begin()
    study.ask()
    study.clock.advance(100 * LEASE)
    study.controller.renew(study.name, ["a stranger"])
    assert study.trial(0).state is TrialState.RUNNING
    assert study.ask("1").number == 0


def test_a_released_trial_goes_to_the_next_worker_and_is_no_loss(begin: Begin) -> None:
    study = begin()
    study.ask()
    study.controller.release(study.name, [study.identity().session])
    again = study.ask("1")
    assert (again.number, again.attempt, again.lost) == (0, 2, 0)


def test_a_trial_that_kills_its_workers_fails_and_the_study_continues(begin: Begin) -> None:
    study = begin(population=2)
    study.complete(study.ask("1"), "1")
    attempts = []
    for _ in range(3):
        poison = study.ask()
        attempts.append((poison.number, poison.attempt))
        study.lives["0"] += 1
    study.controller.release(study.name, [], lost=True)
    assert attempts == [(1, 1), (1, 2), (1, 3)] or attempts == [(2, 1), (2, 2), (2, 3)]
    number = attempts[0][0]
    study.ask()
    lost = study.trial(number)
    assert (lost.state, lost.reason, lost.lost) == (TrialState.FAILED, "lost its worker 3 times", 3)
    with pytest.raises(LeaseLost, match="lost"):
        study.complete(lost, "0")
    with pytest.raises(LeaseLost, match="lost"):
        study.report(lost, 3)


def test_the_trial_of_a_dead_session_is_taken_back_before_its_lease_expires(begin: Begin) -> None:
    study = begin()
    study.ask()
    study.controller.release(study.name, [study.identity().session], lost=True)
    assert (study.trial(0).state, study.trial(0).lost) == (TrialState.PENDING, 1)


# Failures


def test_a_failed_trial_is_retried_as_often_as_allowed_with_the_same_seed_and_params(begin: Begin) -> None:
    study = begin(train={**PATIENT, "retries": 2})
    attempts = [study.ask()]
    for _ in range(3):
        attempts.append(given(study.fail(attempts[-1])))
    assert [(trial.number, trial.attempt) for trial in attempts] == [(0, 1), (0, 2), (0, 3), (1, 1)]
    assert len({(trial.seed, str(trial.params)) for trial in attempts[:3]}) == 1
    failed = study.trial(0)
    assert (failed.state, failed.failures, failed.reason, failed.output) == (TrialState.FAILED, 3, "exit status 3", "the tail")


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({"score": float("nan")}, "metric 'score' must be a finite number, got nan"),
        ({"score": float("-inf")}, "metric 'score' must be a finite number, got -inf"),
        ({"score": "good"}, "metric 'score' must be a finite number, got 'good'"),
        ({"score": True}, "metric 'score' must be a finite number, got True"),
        ({"loss": 1.0}, "no metric 'score' in the last measurement (it has: loss)"),
    ],
)
def test_a_completion_without_a_finite_metric_is_a_failure_and_its_checkpoint_is_not_kept(
    begin: Begin, metrics: dict[str, Any], reason: str
) -> None:
    study = begin(train=PATIENT)
    answer = study.complete(study.ask(), **metrics)
    assert answer.delete == ("checkpoints/000000.1",)
    failed = study.trial(0)
    assert (failed.state, failed.checkpoint, failed.fitness) == (TrialState.FAILED, None, None)
    assert str(failed.reason).startswith(reason)


@pytest.mark.parametrize(("population", "limit", "most"), [(3, None, 3), (8, None, 5), (8, 2, 2), (8, 7, 7)])
def test_a_study_whose_first_trials_all_fail_has_failed_with_the_reason_of_the_last_one(
    begin: Begin, population: int, limit: int | None, most: int
) -> None:
    study = begin(population=population, train={} if limit is None else {"max_failures": limit})
    trial = study.ask()
    for _ in range(most - 1):
        trial = given(study.fail(trial))
    answer = study.fail(trial, reason="exit status 4")
    assert isinstance(answer, Done)
    for word in (f"first {most} trials", "exit status 4", "the tail"):
        assert word in answer.reason
    assert study.progress().state is StudyState.FAILED


def test_later_failures_do_not_change_the_reason_of_a_failed_study(begin: Begin) -> None:
    study = begin(train={"max_failures": 2})
    trials = {worker: study.ask(worker) for worker in "abc"}
    for worker, trial in trials.items():
        study.fail(trial, worker, reason=f"of {worker}")
    assert str(study.progress().reason).startswith("the first 2 trials all failed, the last one: of b")


def test_one_completed_trial_and_failures_do_not_end_the_study(begin: Begin) -> None:
    study = begin(population=2, train={"max_failures": 2})
    trial = given(study.fail(given(study.complete(study.ask()))))
    for _ in range(10):
        trial = given(study.fail(trial))
    assert study.progress().state is StudyState.ACTIVE


def test_a_study_fails_once_nearly_all_of_its_recent_trials_failed_and_not_before(begin: Begin) -> None:
    study = begin(population=2, budget={"trials": 1000})
    trial = given(study.complete(given(study.complete(study.ask()))))
    for _ in range(11):
        trial = given(study.fail(trial))
    trial = given(study.complete(trial))  # one that trained makes up for nine
    for _ in range(9):
        trial = given(study.fail(trial))
    answer = study.fail(trial, reason="exit status 4")
    assert isinstance(answer, Done)
    assert answer.reason.startswith("nearly all of the last trials failed (21 of 24 in all), the last one: exit status 4")
    assert study.progress().state is StudyState.FAILED


def test_failures_of_a_few_among_many_running_workers_do_not_end_the_study(begin: Begin) -> None:
    study = begin(population=2000, budget={"trials": 5000})
    trials = {f"w{number}": study.ask(f"w{number}") for number in range(60)}
    for worker in list(trials)[:5]:
        given(study.fail(trials[worker], worker))
    assert study.progress().state is StudyState.ACTIVE
    while study.progress().state is StudyState.ACTIVE:
        worker = next(iter(trials))
        answer = study.fail(trials.pop(worker), worker)
        trials |= {worker: answer.trial} if isinstance(answer, Start) else {}
    assert study.progress().trials < 130


@pytest.mark.parametrize(("completed", "failed", "state"), [(2, 8, StudyState.FAILED), (8, 2, StudyState.ACTIVE)])
def test_a_study_whose_last_trials_failed_at_its_end_has_failed(
    begin: Begin, completed: int, failed: int, state: StudyState
) -> None:
    study = begin(population=2, budget={"trials": completed + failed})
    answer: Any = Start(trial=study.ask(), restore=None)
    for _ in range(completed):
        answer = study.complete(given(answer))
    for _ in range(failed):
        answer = study.fail(given(answer), reason="exit status 4")
    assert isinstance(answer, Done)
    assert study.progress().state is state
    said = f"10 trials are done, and {failed} of the last 10 trials failed, the last one: exit status 4"
    assert answer.reason.startswith(said if state is StudyState.FAILED else "10 trials are done")


def test_a_failed_study_that_is_opened_again_resumes_and_may_fail_again(begin: Begin) -> None:
    study = begin(train={"max_failures": 2})
    given(study.fail(study.ask()))
    held = study.ask()
    study.fail(held)
    study.open(train={"max_failures": 2})
    third = study.ask()
    assert study.progress().state is StudyState.ACTIVE
    assert isinstance(study.fail(given(study.fail(third))), Done)


# Measurements


def test_the_metrics_of_a_failed_attempt_are_its_own_and_not_those_of_an_earlier_one(begin: Begin) -> None:
    study = begin(train=PATIENT)
    study.report(study.ask(), 8)
    study.lives["0"] += 1
    study.fail(study.ask())
    assert study.trial(0).metrics is None


def test_an_attempt_without_a_report_does_not_complete_by_the_reports_of_an_earlier_one(begin: Begin) -> None:
    study = begin(train=PATIENT)
    study.report(study.ask(), 8)
    study.lives["0"] += 1
    again = study.ask()
    study.controller.complete(study.name, 0, again.attempt, [], checkpoint_of(again), study.identity())
    assert study.trial(0).state is TrialState.FAILED


def test_the_fitness_may_be_a_mean_of_earlier_reports_and_the_final_metrics(begin: Begin) -> None:
    study = begin(objective={"score": {"goal": "maximize", "mean_of_last": 3}})
    first = study.ask()
    study.report(first, 1, 2)
    study.report(first, 6)
    study.complete(first, score=10.0)
    assert study.trial(0).fitness == pytest.approx((6.0,))
    assert study.measured(0) == [1, 2, 6, 10]


MEAN = {"score": {"goal": "maximize", "mean_of_last": 3}, "loss": {"goal": "minimize", "mean_of_last": 2}}
measured_metrics = st.dictionaries(
    st.sampled_from(["score", "loss", "other"]), st.sampled_from([0.1, 0.3, 0.9, 4.0, float("nan"), None]), max_size=3
)


def judged(study: Played, batches: list[list[dict[str, Any]]]) -> Trial:
    """A trial that reports all of these batches but the last, and completes with that one."""
    first = study.ask()
    *reports, last = [[Measurement(step=7, metrics=metrics) for metrics in batch] for batch in batches]
    for report in reports:
        study.controller.report(study.name, first.number, first.attempt, report, next(study.reports))
    study.controller.complete(study.name, first.number, first.attempt, last, checkpoint_of(first), study.identity())
    return study.trial(0)


@given_that(metrics=st.lists(measured_metrics, min_size=1, max_size=8), cuts=st.lists(st.integers(0, 8), max_size=4))
def test_any_batching_of_the_same_measurements_gives_the_same_fitness(metrics: list[dict[str, Any]], cuts: list[int]) -> None:
    places = sorted({0, len(metrics), *(min(cut, len(metrics)) for cut in cuts)})
    batches = [metrics[start:end] for start, end in pairwise(places)]
    clock = FakeClock()
    with closing(SqliteStore(None, clock=clock)) as store:
        tables = {"objective": MEAN, "train": PATIENT}
        at_once, in_batches = (Played(store, clock, {**tables, "name": name}) for name in ("one", "two"))
        one, two = judged(at_once, [metrics]), judged(in_batches, batches)
    assert (one.state, one.fitness, one.reason) == (two.state, two.fitness, two.reason)
    assert repr(one.metrics) == repr(two.metrics)


@pytest.mark.parametrize("flushed", range(5))
def test_a_mean_of_the_last_measurements_reads_back_as_far_as_necessary(begin: Begin, flushed: int) -> None:
    study = begin(objective={"score": {"goal": "maximize", "mean_of_last": 2}})
    metrics = [{"score": 0.9}, {"score": 0.3}, {"loss": 1.0}, {"loss": 0.5}, {"loss": 0.1}]
    trial = judged(study, [metrics[:flushed], metrics[flushed:]])
    assert trial.fitness == pytest.approx((0.6,))
    assert trial.metrics == {"score": 0.3, "loss": 0.1}


def test_a_failure_is_recorded_as_a_string_that_every_terminal_and_file_can_hold(begin: Begin) -> None:
    study = begin(train=PATIENT)
    first = study.ask()
    half = "caf\udce9 \x1b[31mred\x1b[0m" + "x" * 10_000
    for _ in range(2):  # the second is the same report again
        study.controller.fail(study.name, 0, first.attempt, [], half, half, study.identity())
    failed = study.trial(0)
    assert failed.reason is not None
    assert failed.output is not None
    assert failed.reason.startswith(r"caf\udce9 redxxx")
    assert failed.reason.endswith("more characters)")
    assert failed.failures == 1
    (failed.reason + failed.output).encode()


def test_a_finished_trial_accepts_no_further_report(begin: Begin) -> None:
    study = begin()
    first = study.ask()
    study.complete(first)
    with pytest.raises(LeaseLost, match=r"trial 0 is completed.*ended"):
        study.report(first, 11)
    assert study.measured(0) == [10]


def test_a_stopped_trial_has_the_steps_that_it_trained_and_is_never_a_parent(begin: Begin) -> None:
    study = begin(population=2)
    first = study.ask()
    study.report(first, 4)
    other = given(study.stop(first, 6))
    child = given(study.complete(other))
    stopped = study.trial(0)
    assert (stopped.state, stopped.steps, stopped.fitness, stopped.checkpoint) == (TrialState.STOPPED, 6, None, None)
    assert stopped.metrics == {"score": 0.5}
    assert (child.initiator, child.parent, child.opponent) in ((0, 1, 1), (1, 1, None))


# Early stopping

MEDIAN = {"rule": "median", "min_trials": 2}


def four(begin: Begin, **tables: Any) -> tuple[Played, list[Trial]]:
    """A study, and the four trials of its first generation; three of them scored 3, 4 and 5 at step 6."""
    tables = {"population": 4, "stopping": MEDIAN, **tables}
    study = begin(**{key: value for key, value in tables.items() if value is not None})
    trials = [study.ask(str(worker)) for worker in range(4)]
    sign = -1.0 if tables.get("objective") == {"score": "minimize"} else 1.0
    for trial, score in zip(trials[1:], (3.0, 4.0, 5.0), strict=True):
        study.measure(trial, 6, sign * score)
    return study, trials


def test_a_trial_below_the_median_at_its_step_is_stopped_and_the_others_continue(begin: Begin) -> None:
    study, trials = four(begin)
    assert study.measure(trials[0], 6, 3.5) is Signal.STOP
    study.stop(trials[0])
    stopped = study.trial(0)
    assert (stopped.state, stopped.steps, stopped.metrics) == (TrialState.STOPPED, 6, {"score": 3.5})
    assert stopped.reason == "at step 6 its fitness, 3.5, is below 4, the median of 3 others"
    assert [study.measure(trial, 7, score) for trial, score in zip(trials[2:], (4.0, 5.0), strict=True)] == [Signal.CONTINUE] * 2


@pytest.mark.parametrize(
    ("tables", "score", "signal"),
    [
        ({"stopping": None}, 0.0, Signal.CONTINUE),
        ({}, 4.0, Signal.CONTINUE),
        ({}, float("nan"), Signal.STOP),
        ({"stopping": {**MEDIAN, "margin": 0.5}}, 3.6, Signal.CONTINUE),
        ({"stopping": {**MEDIAN, "margin": 0.5}}, 3.4, Signal.STOP),
        ({"stopping": {**MEDIAN, "burn_in": 6}}, 3.0, Signal.STOP),
        ({"stopping": {**MEDIAN, "burn_in": 7}}, 3.0, Signal.CONTINUE),
        ({"stopping": {**MEDIAN, "min_trials": 4}}, 3.0, Signal.CONTINUE),
        ({"objective": {"score": "minimize"}}, -3.5, Signal.STOP),
        ({"objective": {"score": "minimize"}}, -4.5, Signal.CONTINUE),
        ({"objective": {"score": {"goal": "maximize", "mean_of_last": 2}}}, 3.5, Signal.STOP),
        ({"objective": {"score": {"goal": "maximize", "weight": 0.1}}}, 3.5, Signal.STOP),
    ],
)
def test_the_rule_has_the_settings_of_the_study(begin: Begin, tables: dict[str, Any], score: float, signal: Signal) -> None:
    study, trials = four(begin, **tables)
    assert study.measure(trials[0], 6, score) is signal


def test_a_report_between_two_steps_of_others_is_compared_with_their_last_report_before_it(begin: Begin) -> None:
    study, trials = four(begin)
    assert study.measure(trials[0], 8, 0.0) is Signal.CONTINUE  # nobody else has got as far
    for trial in trials[1:]:
        study.measure(trial, 9, -5.0)
    assert study.measure(trials[0], 8, 0.0) is Signal.STOP  # at step 8 they stood as at step 6
    study, trials = four(begin, name="other")
    for trial in trials[1:]:
        study.measure(trial, 8, -5.0)
    assert study.measure(trials[0], 8, 0.0) is Signal.CONTINUE


def test_trials_of_other_generations_and_members_count_where_they_span_the_step(begin: Begin) -> None:
    """Trial 2 overshot, so it passed through the steps that children of the others train."""
    study = begin(population=3, stopping={**MEDIAN, "min_trials": 1}, train=PATIENT, evolution={"strategy": "random"})
    trials = [study.ask(str(worker)) for worker in range(3)]
    study.measure(trials[2], 13, 0.5)
    study.measure(trials[2], 16, 0.9)
    child = given(study.complete(trials[0], score=0.1))
    assert (child.generation, child.start) == (1, 10)
    assert study.measure(child, 11, 0.1) is Signal.CONTINUE  # that one had not been measured yet
    assert study.measure(child, 14, 0.6) is Signal.CONTINUE
    assert study.measure(child, 15, 0.4) is Signal.STOP


def test_a_failed_trial_is_no_peer_and_a_stopped_one_is(begin: Begin) -> None:
    study, trials = four(begin, train=PATIENT)
    study.fail(trials[3], "3")
    study.stop(trials[2], 7, worker="2")
    assert study.measure(trials[0], 6, 3.4) is Signal.STOP  # below the median of 3 and 4
    again, trials = four(begin, name="other", train=PATIENT)
    again.fail(trials[3], "3")
    assert again.measure(trials[0], 6, 3.6) is Signal.CONTINUE


def test_only_the_last_attempt_at_another_trial_counts(begin: Begin) -> None:
    study, trials = four(begin, stopping={**MEDIAN, "min_trials": 3})
    study.lives["3"] += 1
    again = study.ask("3")
    assert (again.number, again.attempt) == (3, 2)
    assert study.measure(trials[0], 6, 0.0) is Signal.CONTINUE
    study.measure(again, 6, 9.0)
    assert study.measure(trials[0], 6, 0.0) is Signal.STOP


def test_a_trial_gets_the_signal_to_stop_again_whatever_its_peers_score_later(begin: Begin) -> None:
    study, trials = four(begin)
    for _ in range(2):
        assert study.measure(trials[0], 6, 3.5) is Signal.STOP
    for trial in trials[1:]:
        study.measure(trial, 6, 0.0)
    assert study.measure(trials[0], 6, 3.5) is Signal.STOP
    assert study.report(trials[0]) is Signal.STOP
    study.open(population=4, name=study.name)  # without the rule
    assert study.report(trials[0]) is Signal.STOP


def test_a_new_attempt_after_the_signal_to_stop_is_judged_again(begin: Begin) -> None:
    study, trials = four(begin)
    assert study.measure(trials[0], 6, 3.5) is Signal.STOP
    study.controller.release(study.name, [study.identity("0").session])
    again = study.ask("0")
    assert (again.number, again.attempt, again.reason) == (0, 2, None)
    assert study.measure(again, 5, 0.0) is Signal.CONTINUE
    assert study.measure(again, 6, 9.0) is Signal.CONTINUE


def test_a_trial_that_completes_after_the_signal_to_stop_has_completed(begin: Begin) -> None:
    study, trials = four(begin)
    assert study.measure(trials[0], 6, 3.5) is Signal.STOP
    study.complete(trials[0], score=9.0)
    assert (study.trial(0).state, study.trial(0).reason) == (TrialState.COMPLETED, None)


def test_a_report_that_is_repeated_after_a_crash_gets_the_same_signal_to_stop(begin: Begin) -> None:
    for moment in Moment:
        study, trials = four(begin, name=f"crashed-{moment.name.lower().replace('_', '-')}")
        study.crashing.crash = moment
        with pytest.raises(Crash):
            study.measure(trials[0], 6, 3.5)
        assert study.measure(trials[0], 6, 3.5) is Signal.STOP


def test_the_end_of_a_study_recalls_a_trial_after_the_signal_to_stop(begin: Begin) -> None:
    study, trials = four(begin)
    assert study.measure(trials[0], 6, 3.5) is Signal.STOP
    study.controller.end(study.name, now=True, reason="enough")
    assert study.measure(trials[0], 6, 3.5) is Signal.RELEASE


def test_a_worker_that_learns_of_the_end_of_its_study_holds_no_trial(begin: Begin) -> None:
    study = begin()
    trial = study.ask()
    study.controller.end(study.name, now=True, reason="enough")
    assert isinstance(study.answer(), Done)
    assert study.trial(trial.number).state is TrialState.PENDING


def test_a_new_or_changed_rule_applies_from_the_next_report(begin: Begin) -> None:
    study, trials = four(begin, stopping={**MEDIAN, "min_trials": 9})
    assert study.measure(trials[0], 6, 0.0) is Signal.CONTINUE
    study.open(population=4, stopping=MEDIAN)
    assert study.measure(trials[0], 6, 0.0) is Signal.STOP


@pytest.mark.parametrize("evolution", STRATEGIES.values(), ids=list(STRATEGIES))
@pytest.mark.parametrize("seed", range(3))
def test_a_study_that_stops_poor_trials_early_trains_fewer_steps_and_keeps_its_population(
    begin: Begin, evolution: dict[str, Any], seed: int
) -> None:
    study = begin(evolution=evolution, budget={"generations": 8}, train=PATIENT, stopping=MEDIAN, seed=seed)
    crew = study.crew(by_params, workers=3, order=seed)
    while crew.turn():
        for worker, start in sorted(crew.held.items()):
            trial, step = start.trial, start.trial.start + 5
            if study.measured(trial.number) == [] and study.measure(trial, step, trial.params["lr"]) is Signal.STOP:
                crew.hear(worker, study.controller.stop(study.name, trial.number, trial.attempt, [], crew.identity(worker)))
    trials = study.trials()
    stopped = [trial for trial in trials if trial.state is TrialState.STOPPED]
    assert len(trials) == 8 * 4
    assert stopped
    assert steps_trained(study) == 10 * len(trials) - 5 * len(stopped)
    assert {trial.member for trial in trials if trial.generation == 7} == set(range(4))


# Budgets


def steps_trained(study: Played) -> int:
    return sum(trial.steps for trial in study.trials())


@pytest.mark.parametrize("evolution", STRATEGIES.values(), ids=list(STRATEGIES))
@pytest.mark.parametrize(
    ("budget", "larger", "trials", "more"),
    [
        ({"trials": 17}, {"trials": 26}, 17, 26),
        ({"generations": 3}, {"generations": 5}, 12, 20),
        ({"total_steps": 155}, {"total_steps": 200}, 16, 20),
        ({"trials": 30, "generations": 2}, {"trials": 10, "generations": 9}, 8, 10),
    ],
)
def test_a_budget_is_used_up_exactly_and_a_larger_one_extends_the_study(
    begin: Begin, evolution: dict[str, Any], budget: dict[str, Any], larger: dict[str, Any], trials: int, more: int
) -> None:
    study = begin(evolution=evolution, budget=budget)
    crew = study.crew(by_params)
    for spent, amount in ((trials, larger), (more, larger)):
        crew.run()
        assert crew.ended is not None
        assert len(study.trials()) == spent
        assert all(trial.state is TrialState.COMPLETED for trial in study.trials())
        crew.ended = None
        study.open(evolution=evolution, budget=amount)


def test_time_counts_while_a_worker_trains_and_not_while_the_study_is_idle(begin: Begin) -> None:
    study = begin(budget={"time": 20})
    trial = study.ask()
    for _ in range(3):
        study.clock.advance(6)
        study.controller.renew(study.name, [study.identity().session])
    study.clock.advance(86_400)
    trial = study.ask()
    assert study.progress().elapsed == 18
    study.clock.advance(2)
    assert isinstance(study.complete(trial), Done)
    assert study.progress().elapsed == 20


def test_a_study_whose_budget_is_used_up_is_changed_by_no_ask_and_no_stop(begin: Begin) -> None:
    study = begin(budget={"trials": 1})
    trial = study.ask()
    study.clock.advance(3)
    study.complete(trial)
    for call in (study.answer, study.open, lambda: study.controller.end(study.name, now=True, reason="enough")):
        study.clock.advance(5)  # less than a lease
        call()
        assert study.progress().elapsed == 3


def test_after_the_last_second_pending_trials_stay_pending_and_running_ones_finish(begin: Begin) -> None:
    study = begin(budget={"time": 5})
    first, second = study.ask("0"), study.ask("1")
    study.clock.advance(5)
    study.controller.release(study.name, [study.identity("1").session])
    assert isinstance(study.answer("2"), Wait)
    assert isinstance(study.complete(first), Done)
    assert (study.trial(0).state, study.trial(second.number).state) == (TrialState.COMPLETED, TrialState.PENDING)
    study.open(budget={"time": 50})
    assert study.ask("2").number == second.number


def test_a_target_ends_the_study_when_a_trial_reaches_it(begin: Begin) -> None:
    study = begin(budget={"target": 0.9})
    assert isinstance(study.complete(study.ask(), score=0.89), Start)
    other = study.ask("1")
    assert isinstance(study.complete(study.ask(), score=0.9), Wait)
    assert isinstance(study.complete(other, "1", score=0.1), Done)
    study.open(budget={"target": 0.95})
    assert isinstance(study.answer(), Start)


def test_a_waiting_worker_writes_nothing(begin: Begin) -> None:
    study = begin(population=1)
    study.ask("0")
    before = study.progress()
    study.clock.advance(3)
    assert isinstance(study.answer("1"), Wait)
    assert study.progress() == before


# Studies


def test_a_study_that_is_opened_twice_is_one_study(begin: Begin) -> None:
    study = begin()
    study.ask()
    study.open()
    assert len(study.trials()) == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"trial_steps": 20}, "trial_steps"),
        ({"population": 5}, "population"),
        ({"objective": {"score": "minimize"}}, "objective"),
        ({"space": {"lr": {"int": [1, 2]}}}, r"\[space\] lr"),
        ({"evolution": {"strategy": "random"}}, "evolution"),
        ({"seed": 9}, "seed"),
    ],
)
def test_a_setting_that_can_not_change_is_refused_by_name_and_nothing_changes(
    begin: Begin, changes: dict[str, Any], named: str
) -> None:
    study = begin()
    with study.store.snapshot(study.name) as records:
        before = records.definition()
    with pytest.raises(StudyChanged, match=named):
        study.open(budget={"trials": 999}, **changes)
    with study.store.snapshot(study.name) as records:
        assert records.definition() == before


def test_a_range_may_widen_and_children_use_it(begin: Begin) -> None:
    narrow, wide = ({"x": {"float": [0.0, high]}} for high in (1.0, 100.0))
    study = begin(space=narrow, budget={"trials": 8})
    study.crew(lambda trial: {"score": trial.params["x"]}).run()
    study.open(space=wide, budget={"trials": 200})
    study.crew(lambda trial: {"score": trial.params["x"]}).run()
    assert max(trial.params["x"] for trial in study.trials()[8:]) > 1.0


@pytest.mark.parametrize(("now", "signal"), [(True, Signal.RELEASE), (False, Signal.CONTINUE)])
def test_the_end_of_a_study_recalls_running_trials_or_lets_them_finish(begin: Begin, now: bool, signal: Signal) -> None:
    study = begin()
    first = study.ask()
    study.controller.end(study.name, now=now, reason="enough")
    assert study.report(first, 3) is signal
    assert study.answer("1") == (Done(reason="enough") if now else Wait())
    assert study.complete(first) == Done(reason="enough")
    assert study.trial(0).state is TrialState.COMPLETED
    study.open()
    assert study.ask().number == 1


def test_an_unknown_study_or_trial_is_named_in_the_error(begin: Begin) -> None:
    study = begin()
    with pytest.raises(StudyNotFound, match="no study 'gone'"):
        study.controller.ask("gone", study.identity())
    with pytest.raises(StudyNotFound, match="no trial 7"):
        study.controller.report(study.name, 7, 1, [], 1)


def test_a_controller_keeps_no_state_so_any_of_them_can_answer(begin: Begin) -> None:
    def rows(anew: bool) -> list[Trial]:
        with closing(SqliteStore(None, clock=FakeClock())) as store:
            study = Played(store, FakeClock(), {"budget": {"trials": 40}})
            crew = study.crew(by_params)
            while crew.turn():
                crew.client = Controller(store) if anew else crew.client
            return study.trials()

    assert rows(anew=True) == rows(anew=False)


# Corrupt checkpoints


def with_a_child(study: Played) -> Start:
    """A study of one member whose second trial is held."""
    answer = study.complete(study.ask())
    assert isinstance(answer, Start)
    return answer


def test_a_corrupt_parent_is_replaced_once_even_if_it_is_reported_twice(begin: Begin) -> None:
    study = begin(population=1)
    start = given(study.complete(with_a_child(study).trial))
    assert start.parent == 1
    once = study.controller.damaged(study.name, 2, 1, 1, study.identity())
    assert isinstance(once, Start)
    assert (once.trial.number, once.trial.attempt, once.trial.parent, once.trial.damaged) == (2, 1, 0, 1)
    assert once.restore == study.trial(0).checkpoint
    assert study.controller.damaged(study.name, 2, 1, 1, study.identity()) == once


def test_a_trial_starts_from_nothing_when_all_checkpoints_are_corrupt(begin: Begin) -> None:
    study = begin(population=1)
    start = with_a_child(study)
    again = study.controller.damaged(study.name, start.trial.number, 1, 0, study.identity())
    assert isinstance(again, Start)
    assert (again.restore, again.trial.parent, again.trial.start) == (None, None, 0)


def test_a_checkpoint_that_is_kept_for_good_can_replace_a_corrupt_one(begin: Begin) -> None:
    study = begin(population=2, checkpoints={"keep_all": True})
    second = given(study.complete(study.ask(), score=2.0))
    child = given(study.complete(second, score=1.0))
    assert child.parent == 0
    again = given(study.controller.damaged(study.name, child.number, 1, 0, study.identity()))
    assert (again.parent, again.params) == (second.number, second.params)


def test_a_finished_trial_keeps_its_parent_whatever_a_superseded_worker_reports(begin: Begin) -> None:
    study = begin(population=1, engine={"max_lost": 1, "lease": LEASE})
    start = with_a_child(study)
    study.controller.release(study.name, [study.identity().session], lost=True)
    study.controller.end(study.name, now=True, reason="enough")
    with pytest.raises(LeaseLost):
        study.controller.damaged(study.name, start.trial.number, 1, 0, study.identity())
    assert study.trial(1).parent == 0
