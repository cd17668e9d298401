"""The invariants of a study's records, whatever happened to the study."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise

from broodline.config.study import study_from
from broodline.core.next_trial import program_seed
from broodline.core.population import Progress
from broodline.core.reproduction import replay_seed
from broodline.core.study import StudyConfig
from broodline.core.trial import Change, Measurement, Trial, TrialState
from broodline.storage.base import Store
from broodline.strategies.registry import load_strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class _Records:
    study: StudyConfig
    progress: Progress
    trials: tuple[Trial, ...]
    measured: Mapping[int, tuple[Measurement, ...]]
    best: tuple[Trial, ...]
    damaged: frozenset[int]

    @property
    def completed(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.state is TrialState.COMPLETED]

    @property
    def unfinished(self) -> list[Trial]:
        return [trial for trial in self.trials if not trial.state.finished]

    def of_member(self, member: int) -> list[Trial]:
        return sorted((trial for trial in self.trials if trial.member == member), key=lambda trial: trial.generation)


def check_invariants(store: Store, study: str, *, damaged: Collection[int] = ()) -> None:
    """Checks every record of a study.

    Args:
        store: The store of the study.
        study: Its name.
        damaged: Trials with a corrupt checkpoint, except those that a record names.

    Raises:
        AssertionError: A record breaks an invariant; the message names both.
    """
    with store.snapshot(study) as snapshot:
        defined = study_from(snapshot.definition())
        trials, progress = tuple(snapshot.trials()), snapshot.progress()
        best = snapshot.best(defined.checkpoints.keep_best)
        stopped = [trial for trial in trials if trial.state is TrialState.STOPPED]
        measured = {trial.number: snapshot.measurements(trial.number, trial.attempt) for trial in stopped}
    known = frozenset(damaged) | {trial.damaged for trial in trials if trial.damaged is not None}
    records = _Records(study=defined, progress=progress, trials=trials, measured=measured, best=best, damaged=known)
    _check_numbers(records)
    for trial in records.trials:
        _check_state(records, trial)
        _check_stop(records, trial)
        _check_origin(records, trial)
        _check_params(records, trial)
    _check_workers(records)
    _check_progress(records)
    _check_checkpoints(records)


def _check_numbers(records: _Records) -> None:
    assert [trial.number for trial in records.trials] == list(range(len(records.trials))), "numbers are not consecutive"
    for member in range(records.study.population):
        generations = [trial.generation for trial in records.of_member(member)]
        assert generations == list(range(len(generations))), f"member {member} has generations {generations}"
        for earlier, later in pairwise(records.of_member(member)):
            assert earlier.number < later.number, f"trial {later.number} is older than its predecessor, {earlier.number}"
    assert all(0 <= trial.member < records.study.population for trial in records.trials), "a member outside of the population"


def _check_state(records: _Records, trial: Trial) -> None:
    name, limits = f"trial {trial.number} ({trial.state})", records.study.limits
    assert trial.attempt >= 1, f"{name} was made and leased to no worker"
    held = (trial.lease_until is not None, trial.session is not None, trial.finished is not None)
    expected = {TrialState.RUNNING: (True, True, False), TrialState.PENDING: (False, False, False)}
    if trial.state.finished:
        assert trial.lease_until is None, f"{name} has a lease"
        assert trial.finished is not None, f"{name} has no time at which it ended"
    else:
        assert held == expected[trial.state], f"{name} has (lease, session, end): {held}"
        assert (trial.child, trial.checkpoint, trial.fitness) == (None, None, None), f"{name} has fields of finished trials"
    completed = trial.state is TrialState.COMPLETED
    assert completed == (trial.fitness is not None), f"{name} has the fitness {trial.fitness}"
    assert all(map(math.isfinite, trial.fitness or ())), f"{name} has the fitness {trial.fitness}"
    assert completed or trial.checkpoint is None, f"{name} has the checkpoint {trial.checkpoint}"
    assert trial.lost < limits.max_lost or trial.state.finished, f"{name} lost {trial.lost} workers"
    assert trial.lost <= limits.max_lost, f"{name} lost {trial.lost} workers"
    assert trial.failures <= limits.retries + 1, f"{name} failed {trial.failures} times"


def _check_stop(records: _Records, trial: Trial) -> None:
    """A stopped trial has trained the steps up to its last measurement, and no more."""
    if trial.state is TrialState.STOPPED:
        last = max([trial.start, *(each.step for each in records.measured[trial.number][-1:])])
        assert trial.reason, f"trial {trial.number} was stopped without a reason"
        assert trial.steps == last - trial.start, f"trial {trial.number} was stopped at step {last}, after {trial.steps} steps"


def _check_origin(records: _Records, trial: Trial) -> None:
    name, trials, population = f"trial {trial.number}", records.trials, records.study.population
    segments = () if records.study.replay is None else records.study.replay.segments
    seeds = [replay_seed(records.study, trial.member, segment) for segment in segments] or [
        program_seed(records.study.seed, trial.number)
    ]
    assert trial.seed in seeds, f"{name} has the seed {trial.seed}"
    parent = None if trial.parent is None else trials[trial.parent]
    assert trial.start == (0 if parent is None else parent.end), f"{name} starts at {trial.start}"
    assert parent is None or parent.state is TrialState.COMPLETED, f"{name} has the parent {trial.parent}"
    if trial.initiator is None:
        begun = sum(other.generation == 0 for other in trials[: trial.number])
        assert (trial.member, trial.generation) == (begun, 0), f"{name} has no initiator"
        assert trial.member < population, f"{name} has no initiator"
        if not load_strategy(records.study.evolution).independent_lineages:
            assert trial.number == trial.member, f"{name} has no initiator"
        assert (trial.parent, trial.opponent) == (None, None), f"{name} of generation 0 has a parent"
        return
    initiator = trials[trial.initiator]
    assert initiator.child == trial.number, f"{name} was initiated by trial {initiator.number}, whose child is {initiator.child}"
    assert (trial.member, trial.generation) == (initiator.member, initiator.generation + 1), f"{name} left its member"
    assert _ended_before(initiator, trial), f"{name} was initiated by trial {initiator.number} before that ended"
    if trial.opponent is not None:
        _check_opponent(records, trial, trials[trial.opponent])
    # A trial whose parent was corrupt has another one, which may be any trial.
    if records.study.evolution.strategy == "initiator" and trial.damaged is None:
        assert trial.parent in (None, trial.initiator, trial.opponent), f"{name} has a parent that took no part, {trial.parent}"
        assert (trial.parent is None) <= (trial.opponent is None), f"{name} had an opponent, and starts from nothing"


def _check_opponent(records: _Records, trial: Trial, opponent: Trial) -> None:
    name = f"opponent {opponent.number} of trial {trial.number}"
    assert opponent.state is TrialState.COMPLETED, f"{name} is {opponent.state}"
    assert opponent.member != trial.member, f"{name} is of the same member"
    assert _ended_before(opponent, trial), f"{name} ended later"
    own = [other for other in records.completed if other.member == opponent.member]
    # Trials that finished at that very moment may have finished just after it.
    later = [other for other in own if other.generation > opponent.generation and (other.finished or 0) < trial.created]
    assert len([other for other in later if other.number not in records.damaged]) < 2, f"{name} was not among the last two"


def _ended_before(one: Trial, other: Trial) -> bool:
    return one.finished is not None and one.finished <= other.created and one.number < other.number


def _check_params(records: _Records, trial: Trial) -> None:
    name = f"trial {trial.number}"
    assert records.study.space.problems(trial.params) == [], f"{name}: {records.study.space.problems(trial.params)}"
    assert trial.changes.keys() == trial.params.keys(), f"{name}: changes of {list(trial.changes)}"
    if trial.parent is None:
        assert set(trial.changes.values()) <= {Change.DRAWN, Change.KEPT}, f"{name} starts from nothing: {trial.changes}"
        return
    parent = records.trials[trial.parent].params
    kept = [param for param, change in trial.changes.items() if change is Change.KEPT]
    assert all(trial.params[param] == parent[param] for param in kept), f"{name}: a kept param differs from its parent's"
    others = [number for number in (trial.initiator, trial.opponent) if number not in (None, trial.parent)]
    crossed = {param: trial.params[param] for param, change in trial.changes.items() if change is Change.CROSSED}
    if crossed:
        assert others, f"{name}: crossover without a second contestant"
        assert crossed.items() <= records.trials[others[0] or 0].params.items(), f"{name}: a crossed param is not the opponent's"


def _check_workers(records: _Records) -> None:
    running = Counter(trial.worker for trial in records.trials if trial.state is TrialState.RUNNING)
    assert max(running.values(), default=0) <= 1, f"workers hold several trials: {running}"


def _check_progress(records: _Records) -> None:
    progress, budget, trials = records.progress, records.study.budget, records.trials
    finished = sum(trial.state.finished for trial in trials)
    counted = (progress.trials, progress.finished, progress.completed, progress.steps)
    recounted = (len(trials), finished, len(records.completed), sum(trial.steps for trial in trials))
    assert counted == recounted, f"(trials, finished, completed, steps) are counted as {counted}, and are {recounted}"
    assert budget.trials is None or len(trials) <= budget.trials, f"{len(trials)} trials of {budget.trials}"
    late = [trial.number for trial in trials if budget.generations is not None and trial.generation >= budget.generations]
    assert not late, f"trials {late} are of generations after the last"


def _check_checkpoints(records: _Records) -> None:
    damaged = records.damaged
    parents = {trial.parent for trial in records.unfinished if trial.parent is not None}
    needed = parents | {trial.number for trial in records.best}
    for member in range(records.study.population):
        completed = [trial.number for trial in records.of_member(member) if trial.state is TrialState.COMPLETED]
        needed |= set(completed[-2:])
    recorded = {trial.number for trial in records.trials if trial.checkpoint is not None}
    assert needed - damaged <= recorded, f"checkpoints of trials {needed - damaged - recorded} were deleted, and are needed"
    most = 2 * records.study.population + len(parents) + records.study.checkpoints.keep_best
    not_kept = {number for number in recorded if not records.trials[number].kept}
    assert len(not_kept) <= most, f"{len(not_kept)} checkpoints are kept, at most {most} are needed"
    if not damaged and not any(trial.kept for trial in records.trials):
        assert recorded <= needed, f"checkpoints of trials {recorded - needed} are not needed, and were not deleted"
