"""The contract of clients: the promises of `controller.client.Client`, as tests.

They look at a study only through its client, so they hold for a controller in another process too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import pytest

from broodline.controller.client import Answer, Client, Done, Signal, Start, Wait, WorkerSession
from broodline.core.study import StudyConfig
from broodline.core.trial import Measurement, Trial, TrialState
from broodline.errors import LeaseLost, StudyNotFound
from broodline.storage.checkpoints.base import checkpoint_of
from broodline.testing.playing import FakeClock, study_from_tables

LEASE = 10.0
SESSION = WorkerSession(worker="0", session="first")
OTHER = WorkerSession(worker="1", session="other")


def given(answer: Answer) -> Trial:
    """The trial of an answer, which must be `Start`."""
    assert isinstance(answer, Start), answer
    return answer.trial


def measured(trial: Trial, score: float = 1.0) -> list[Measurement]:
    """The last measurement of a trial."""
    return [Measurement(step=trial.end, metrics={"score": score})]


class _Calls:
    """The calls of one worker on one study."""

    def __init__(self, client: Client, study: str, identity: WorkerSession = SESSION) -> None:
        self.client, self.study, self.identity = client, study, identity
        self.reports = 0

    def of(self, trial: Trial) -> tuple[str, int, int]:
        return self.study, trial.number, trial.attempt

    def ask(self) -> Answer:
        return self.client.ask(self.study, self.identity)

    def report(self, trial: Trial, score: float = 1.0) -> Signal:
        self.reports += 1
        return self.report_again(trial, score)

    def report_again(self, trial: Trial, score: float = 1.0) -> Signal:
        return self.client.report(self.study, trial.number, trial.attempt, measured(trial, score), self.reports)

    def complete(self, trial: Trial) -> Answer:
        return self.client.complete(self.study, trial.number, trial.attempt, measured(trial), checkpoint_of(trial), self.identity)

    def fail(self, trial: Trial) -> Answer:
        return self.client.fail(self.study, trial.number, trial.attempt, [], "exit status 3", "the tail", self.identity)

    def stop(self, trial: Trial) -> Answer:
        return self.client.stop(self.study, trial.number, trial.attempt, measured(trial), self.identity)

    def corrupt(self, trial: Trial) -> Answer:
        assert trial.parent is not None
        return self.client.damaged(self.study, trial.number, trial.attempt, trial.parent, self.identity)


ENDS: dict[str, Callable[[_Calls, Trial], Answer]] = {
    "complete": _Calls.complete,
    "fail": _Calls.fail,
    "stop": _Calls.stop,
}
_each_end = pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))


class ClientContract(ABC):
    """Subclass it as `TestMyClient`. Every test gets a client of a new store with one new study."""

    @abstractmethod
    def open_client(self, study: StudyConfig, clock: FakeClock) -> Client:
        """Creates a study in a new store that reads this clock, and returns a client of its controller."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    def begin(self, clock: FakeClock, **tables: Any) -> _Calls:
        """The calls of a worker on a new study with these tables."""
        study = study_from_tables(**{"engine": {"lease": LEASE}, "train": {"max_failures": 10**6}, **tables})
        return _Calls(self.open_client(study, clock), study.name)

    def of(self, calls: _Calls, identity: WorkerSession) -> _Calls:
        """The calls of another worker on the same study."""
        return _Calls(calls.client, calls.study, identity)

    # Answers

    def test_an_ask_is_answered_with_a_leased_trial(self, clock: FakeClock) -> None:
        trial = given(self.begin(clock).ask())
        assert (trial.number, trial.attempt, trial.state) == (0, 1, TrialState.RUNNING)
        assert (trial.worker, trial.session) == (SESSION.worker, SESSION.session)
        assert trial.lease_until == clock() + LEASE

    def test_workers_that_ask_are_given_different_trials(self, clock: FakeClock) -> None:
        first = self.begin(clock)
        assert {given(first.ask()).number, given(self.of(first, OTHER).ask()).number} == {0, 1}

    @_each_end
    def test_the_end_of_a_trial_is_answered_with_the_next(self, clock: FakeClock, end: Callable[[_Calls, Trial], Answer]) -> None:
        calls = self.begin(clock)
        assert given(end(calls, given(calls.ask()))).number == 1

    def test_a_child_comes_with_the_checkpoint_of_its_parent(self, clock: FakeClock) -> None:
        calls = self.begin(clock, population=1)
        parent = given(calls.ask())
        answer = calls.complete(parent)
        assert given(answer).parent == parent.number
        assert isinstance(answer, Start)
        assert answer.restore == checkpoint_of(parent)

    def test_a_worker_waits_while_the_rest_of_the_budget_is_running(self, clock: FakeClock) -> None:
        calls = self.begin(clock, budget={"trials": 1})
        given(calls.ask())
        assert isinstance(self.of(calls, OTHER).ask(), Wait)

    def test_a_used_up_budget_is_done_with_a_reason(self, clock: FakeClock) -> None:
        calls = self.begin(clock, budget={"trials": 1})
        done = calls.complete(given(calls.ask()))
        assert isinstance(done, Done)
        assert done.reason
        assert calls.ask() == done

    def test_a_report_continues_a_trial_and_renews_its_lease(self, clock: FakeClock) -> None:
        calls = self.begin(clock)
        trial = given(calls.ask())
        for _ in range(3):
            clock.advance(0.6 * LEASE)
            assert calls.report(trial) is Signal.CONTINUE
        assert given(self.of(calls, OTHER).ask()).number == 1

    def test_unneeded_checkpoints_come_with_the_answer(self, clock: FakeClock) -> None:
        calls = self.begin(clock, population=1, budget={"trials": 12})
        answer, deleted, saved = calls.ask(), list[str](), set[str]()
        while isinstance(answer, Start):
            saved.add(checkpoint_of(answer.trial))
            answer = calls.complete(answer.trial)
            deleted += answer.delete
        assert deleted
        assert len(set(deleted)) == len(deleted)
        assert set(deleted) < saved

    def test_a_study_that_does_not_exist_is_refused(self, clock: FakeClock) -> None:
        client = self.begin(clock).client
        with pytest.raises(StudyNotFound, match="'gone'"):
            client.ask("gone", SESSION)

    # Every call can be repeated

    def test_a_repeated_ask_returns_the_same_trial(self, clock: FakeClock) -> None:
        calls = self.begin(clock)
        assert given(calls.ask()) == given(calls.ask())

    @_each_end
    def test_a_repeated_end_returns_the_same_next_trial(self, clock: FakeClock, end: Callable[[_Calls, Trial], Answer]) -> None:
        calls = self.begin(clock)
        trial = given(calls.ask())
        assert [given(end(calls, trial)).number for _ in range(3)] == [1, 1, 1]

    def test_a_study_whose_every_call_is_repeated_uses_its_budget_once(self, clock: FakeClock) -> None:
        calls, seen = self.begin(clock, budget={"trials": 12}), set[tuple[int, int]]()
        answer = calls.ask()
        for step in range(100):
            if not isinstance(answer, Start):
                break
            trial = answer.trial
            seen.add((trial.number, trial.attempt))
            assert calls.report(trial) is calls.report_again(trial)
            end = list(ENDS.values())[step % 3] if step >= 4 else _Calls.complete
            end(calls, trial)
            answer = end(calls, trial)
        assert isinstance(answer, Done)
        assert seen == {(number, 1) for number in range(12)}

    @pytest.mark.parametrize("again", [1, 2], ids=["once", "twice"])
    def test_a_repeated_report_counts_once(self, clock: FakeClock, again: int) -> None:
        """The mean of the last three values reaches the target only if the 6 counts more than once."""
        goal = {"score": {"goal": "maximize", "mean_of_last": 3}}
        calls = self.begin(clock, objective=goal, budget={"target": 4.0})
        trial = given(calls.ask())
        calls.report(trial, 6.0)
        for _ in range(again):
            assert calls.report_again(trial, 6.0) is Signal.CONTINUE
        assert isinstance(calls.client.complete(*calls.of(trial), measured(trial, 0.0), checkpoint_of(trial), SESSION), Start)

    def test_a_report_that_a_later_one_overtook_counts_no_more(self, clock: FakeClock) -> None:
        goal = {"score": {"goal": "maximize", "mean_of_last": 4}}
        calls = self.begin(clock, objective=goal, budget={"target": 4.0})
        trial = given(calls.ask())
        for index, score in ((1, 6.0), (2, 2.0), (1, 6.0)):
            calls.client.report(*calls.of(trial), measured(trial, score), index)
        assert isinstance(calls.client.complete(*calls.of(trial), measured(trial, 3.0), checkpoint_of(trial), SESSION), Start)

    def test_the_reports_of_each_attempt_count_from_one(self, clock: FakeClock) -> None:
        calls = self.begin(clock, budget={"target": 4.0}, objective={"score": {"goal": "maximize", "mean_of_last": 2}})
        first = given(calls.ask())
        for _ in range(3):
            calls.report(first, 0.0)
        calls.client.release(calls.study, [SESSION.session])
        again = given(calls.ask())
        calls.client.report(*calls.of(again), measured(again, 8.0), 1)
        done = calls.client.complete(*calls.of(again), measured(again, 0.0), checkpoint_of(again), SESSION)
        assert isinstance(done, Done), done

    def test_a_repeated_report_of_a_corrupt_checkpoint_changes_the_parent_once(self, clock: FakeClock) -> None:
        calls = self.begin(clock, population=1)
        first = given(calls.ask())
        second = given(calls.complete(first))
        third = given(calls.complete(second))
        again = given(calls.corrupt(third))
        assert (again.number, again.parent) == (third.number, first.number)
        assert given(calls.corrupt(third)).parent == first.number

    def test_a_repeated_release_gives_back_once(self, clock: FakeClock) -> None:
        calls = self.begin(clock)
        given(calls.ask())
        for _ in range(2):
            calls.client.release(calls.study, [SESSION.session], lost=True)
        again = given(self.of(calls, OTHER).ask())
        assert (again.number, again.attempt, again.lost) == (0, 2, 1)
        calls.client.release(calls.study, [SESSION.session], lost=True)
        assert given(self.of(calls, OTHER).ask()) == again

    # Leases and superseded attempts

    def test_a_renewed_lease_does_not_expire_and_another_one_does(self, clock: FakeClock) -> None:
        calls = self.begin(clock)
        given(calls.ask())
        clock.advance(0.9 * LEASE)
        calls.client.renew(calls.study, [SESSION.session])
        clock.advance(0.9 * LEASE)
        other = self.of(calls, OTHER)
        assert given(other.ask()).number == 1
        clock.advance(2 * LEASE)
        third = self.of(calls, WorkerSession(worker="2", session="third"))
        assert given(third.ask()).number in (0, 1)

    def test_a_worker_that_comes_back_in_another_session_gets_the_next_attempt(self, clock: FakeClock) -> None:
        calls = self.begin(clock)
        first = given(calls.ask())
        again = given(self.of(calls, WorkerSession(worker=SESSION.worker, session="second")).ask())
        assert (again.number, again.attempt, again.params) == (first.number, 2, first.params)

    @pytest.mark.parametrize("call", [*ENDS.values(), _Calls.report], ids=[*ENDS, "report"])
    def test_a_superseded_attempt_is_refused_and_its_successor_is_not(
        self, clock: FakeClock, call: Callable[[_Calls, Trial], object]
    ) -> None:
        calls = self.begin(clock)
        late = given(calls.ask())
        clock.advance(2 * LEASE)
        other = self.of(calls, OTHER)
        successor = given(other.ask())
        assert (successor.number, successor.attempt) == (late.number, 2)
        with pytest.raises(LeaseLost, match="superseded"):
            call(calls, late)
        assert given(other.complete(successor)).number == 1
