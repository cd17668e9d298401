"""What a worker that asks is told: the first of the answers that there is, in their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from broodline.core.next_trial import next_trial, program_seed, rerooted, rng_for
from broodline.core.population import End, NewTrial, Pause, Population, Progress, Resume, StudyState
from broodline.core.reproduction import child_of
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Change, Trial, TrialState
from broodline.testing import study_from_tables

N = 4


def trial(number: int, state: TrialState = TrialState.COMPLETED, **fields: Any) -> Trial:
    ended: dict[str, Any] = {"finished": float(number)} if state.finished else {}
    if state is TrialState.COMPLETED:
        ended |= {"fitness": (0.0,), "checkpoint": f"checkpoints/{number:06d}.1"}
    location = {"member": number % N, "generation": number // N}
    given = {"params": {"width": 64}, "steps": 10, "attempt": 1, **location, **ended, **fields}
    return Trial(number=number, state=state, **given)


@dataclass
class Rows:
    """A population that is a list."""

    trials: list[Trial] = field(default_factory=list)

    def first_pending(self) -> Trial | None:
        return next((each for each in self.trials if each.state is TrialState.PENDING), None)

    def first_initiator(self, worker: str) -> Trial | None:
        waiting = [each for each in self.trials if each.state.finished and each.child is None]
        return min(waiting, key=lambda each: (each.generation, each.number), default=None)

    def members_started(self) -> int:
        return len(self.of_generation(0))

    def leaves(self) -> tuple[Trial, ...]:
        waiting = [each for each in self.trials if each.state.finished and each.child is None]
        return tuple(sorted(waiting, key=lambda each: (each.generation, each.number)))

    def open_leaves(self, worker: str, before: int | None = None) -> Iterator[Trial]:
        below = [each for each in self.leaves() if before is None or each.generation < before]
        yield from sorted((each for each in below if each.can_be_parent), key=lambda each: each.worker != worker)

    def last_completed(self, member: int) -> tuple[Trial, ...]:
        done = [each for each in self.trials if each.state is TrialState.COMPLETED and each.member == member]
        return tuple(reversed(done))[:2]

    def members_with_completed(self) -> tuple[int, ...]:
        return tuple(sorted({each.member for each in self.trials if each.state is TrialState.COMPLETED}))

    def of_generation(self, generation: int) -> tuple[Trial, ...]:
        return tuple(each for each in self.trials if each.generation == generation)

    def any_running(self) -> bool:
        return any(each.state is TrialState.RUNNING for each in self.trials)

    def best(self, count: int) -> tuple[Trial, ...]:
        done = [each for each in self.trials if each.state is TrialState.COMPLETED]
        return tuple(sorted(done, key=lambda each: (-(each.fitness or (0.0,))[0], each.number))[:count])


class Clones(Strategy):
    """A strategy in which every initiator is its own child's parent."""

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        return child_of(study, initiator=initiator, parent=initiator, rng=rng)


class Waits(Strategy):
    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        return None


def study(**budget: Any) -> StudyConfig:
    return study_from_tables(population=N, budget=budget)


def spent(rows: Rows, **fields: Any) -> Progress:
    return Progress(**{"trials": len(rows.trials), "steps": sum(each.steps for each in rows.trials), **fields})


def told(study: StudyConfig, *trials: Trial, held: Trial | None = None, strategy: Any = None, **progress: Any) -> Any:
    rows = Rows(list(trials))
    return next_trial(study, spent(rows, **progress), rows, strategy=strategy or Clones(), worker="0", held=held)


GENERATION_0 = [trial(number) for number in range(N)]
RUNNING, PENDING = trial(1, TrialState.RUNNING), trial(2, TrialState.PENDING)


# The answers, in their order


def test_first_the_trial_that_the_worker_holds() -> None:
    assert told(study(), GENERATION_0[0], RUNNING, PENDING, held=RUNNING) == Resume(trial=RUNNING)


def test_then_the_pending_trial_of_the_lowest_number() -> None:
    assert told(study(), GENERATION_0[0], PENDING, trial(3, TrialState.PENDING)) == Resume(trial=PENDING)


@pytest.mark.parametrize("made", range(N))
def test_then_a_new_trial_of_generation_0_although_others_could_initiate(made: int) -> None:
    birth = told(study(), *GENERATION_0[:made])
    assert (birth.member, birth.generation, birth.parent, birth.initiator, birth.start) == (made, 0, None, None, 0)
    assert set(birth.changes.values()) == {Change.DRAWN, Change.KEPT}
    assert study().space.problems(birth.params) == []


def test_then_a_child_of_the_first_initiator() -> None:
    birth = told(study(), *[each.evolve(child=9) for each in GENERATION_0[:2]], *GENERATION_0[2:])
    assert (birth.member, birth.generation, birth.parent, birth.initiator, birth.start) == (2, 1, 2, 2, 10)


def test_then_wait_while_trials_run() -> None:
    initiated = [each.evolve(child=9) for each in GENERATION_0[:3]]
    assert told(study(), *initiated, trial(3, TrialState.RUNNING)) == Pause()


def test_wait_while_the_strategy_does() -> None:
    assert told(study(), *GENERATION_0, strategy=Waits()) == Pause()


def test_then_done() -> None:
    assert told(study(trials=N), *GENERATION_0) == End(reason="4 trials are done")


# Budgets


BUDGETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "trials": ({"trials": 4}, {}),
    "generations": ({"generations": 1}, {}),
    "total_steps": ({"total_steps": 40}, {}),
    "time": ({"time": 60}, {"elapsed": 60.0}),
    "target": ({"target": 0.0}, {}),
}
CLOSED = {"time", "target"}  # after these, pending trials stay pending


@pytest.mark.parametrize(("budget", "progress"), BUDGETS.values(), ids=list(BUDGETS))
def test_a_spent_budget_ends_the_study(budget: dict[str, Any], progress: dict[str, Any]) -> None:
    assert isinstance(told(study(**budget), *GENERATION_0, **progress), End)


@pytest.mark.parametrize(("budget", "progress"), BUDGETS.values(), ids=list(BUDGETS))
def test_a_budget_that_is_not_quite_spent_does_not(budget: dict[str, Any], progress: dict[str, Any]) -> None:
    larger = {name: amount + 1 for name, amount in budget.items()}
    assert isinstance(told(study(**larger), *GENERATION_0, **progress), NewTrial)


@pytest.mark.parametrize(("budget", "progress"), BUDGETS.values(), ids=list(BUDGETS))
def test_who_asks_waits_while_the_last_trials_run_as_they_may_come_back(budget: dict[str, Any], progress: dict[str, Any]) -> None:
    assert told(study(**budget), *GENERATION_0[:3], trial(3, TrialState.RUNNING), **progress) == Pause()


@pytest.mark.parametrize("name", BUDGETS)
def test_a_pending_trial_is_trained_after_the_last_one_was_made_but_not_after_the_last_moment(name: str) -> None:
    budget, progress = BUDGETS[name]
    answer = told(study(**budget), *GENERATION_0[:3], trial(3, TrialState.PENDING), **progress)
    assert isinstance(answer, End if name in CLOSED else Resume)


@pytest.mark.parametrize(("budget", "progress"), BUDGETS.values(), ids=list(BUDGETS))
def test_a_trial_that_is_held_is_trained_to_its_end(budget: dict[str, Any], progress: dict[str, Any]) -> None:
    held = trial(3, TrialState.RUNNING)
    assert told(study(**budget), *GENERATION_0[:3], held, held=held, **progress) == Resume(trial=held)


def test_the_first_budget_that_is_spent_ends_the_study() -> None:
    assert told(study(trials=9, total_steps=40), *GENERATION_0) == End(reason="40 steps are done")


def test_a_budget_may_end_within_generation_0() -> None:
    assert told(study(trials=2), *GENERATION_0[:2]) == End(reason="2 trials are done")
    assert told(study(total_steps=15), *GENERATION_0[:2]) == End(reason="15 steps are done")


def test_the_last_generation_is_trained_by_all_members() -> None:
    ahead = [each.evolve(child=9) for each in GENERATION_0[:3]]
    rows = [*ahead, GENERATION_0[3], *(trial(number) for number in (4, 5, 6))]
    birth = told(study(generations=2), *rows)
    assert (birth.initiator, birth.generation) == (3, 1)
    assert isinstance(told(study(generations=2), *ahead, trial(3, child=7), *(trial(number) for number in range(4, 8))), End)


def test_a_target_may_be_one_to_stay_below() -> None:
    minimized = study_from_tables(population=N, objective={"loss": "minimize"}, budget={"target": 0.5})
    assert isinstance(told(minimized, trial(0, fitness=(-0.5,))), End)
    assert isinstance(told(minimized, trial(0, fitness=(-0.6,))), NewTrial)


# A study that was ended from elsewhere


@pytest.mark.parametrize("state", [StudyState.STOPPED, StudyState.FAILED])
def test_a_study_that_is_stopped_or_failed_gives_out_nothing_not_even_what_is_held(state: StudyState) -> None:
    assert told(study(), RUNNING, PENDING, held=RUNNING, state=state, reason="enough") == End(reason="enough")
    assert told(study(), state=state) == End(reason=state)


def test_a_study_that_is_stopping_lets_what_is_held_be_finished_and_gives_out_nothing_else() -> None:
    stopping: dict[str, Any] = {"state": StudyState.STOPPING, "reason": "enough"}
    assert told(study(), RUNNING, PENDING, held=RUNNING, **stopping) == Resume(trial=RUNNING)
    assert told(study(), RUNNING, PENDING, **stopping) == Pause()
    assert told(study(), PENDING, **stopping) == End(reason="enough")


# Chance


def test_the_random_numbers_of_a_decision_follow_from_the_seed_and_the_number() -> None:
    drawn = {(seed, number): rng_for(seed, number).random() for seed in range(20) for number in range(20)}
    assert len(set(drawn.values())) == 400
    assert drawn == {key: rng_for(*key).random() for key in drawn}


def test_a_decision_depends_on_the_seed_of_its_study() -> None:
    one, other = (study_from_tables(population=N, seed=seed) for seed in (1, 2))
    assert told(one).params == told(one).params != told(other).params


def test_programs_have_seeds_of_their_own_of_31_bits() -> None:
    seeds = [program_seed(0, number) for number in range(1000)]
    assert len(set(seeds)) == 1000
    assert 0 <= min(seeds) < max(seeds) < 2**31


# A damaged parent


def test_a_trial_with_a_damaged_parent_takes_the_weights_and_the_params_of_another() -> None:
    child, other = trial(5, TrialState.RUNNING, parent=1, start=10), trial(3, start=20, params={"width": 64, "lr": 0.5})
    again = rerooted(study(), child, other)
    assert (again.parent, again.start, again.params, again.damaged) == (3, 30, other.params, 1)
    assert set(again.changes.values()) == {Change.KEPT}
    assert (again.number, again.member, again.generation, again.attempt, again.seed) == (5, 1, 1, 1, child.seed)


def test_without_another_it_starts_from_nothing_as_it_would_at_every_attempt() -> None:
    child = trial(5, TrialState.RUNNING, parent=1, start=10)
    again = rerooted(study(), child, None)
    assert (again.parent, again.start, again.damaged) == (None, 0, 1)
    assert study().space.problems(again.params) == []
    assert rerooted(study(), child, None) == again


def test_what_was_to_be_its_first_parent_is_remembered() -> None:
    child = trial(9, TrialState.RUNNING, parent=1, start=10)
    assert rerooted(study(), rerooted(study(), child, trial(3)), trial(2)).damaged == 1
    zero = rerooted(study(), trial(9, TrialState.RUNNING, parent=0, start=10), trial(3))
    assert rerooted(study(), zero, trial(2)).damaged == 0
