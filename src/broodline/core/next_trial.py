"""What a worker that asks is told: the loop of a study as one pure function."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from broodline.core.population import Decision, End, NewTrial, Pause, Population, Progress, Resume, StudyState
from broodline.core.reproduction import replay_seed, sampled_trial
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Change, Trial

SampleInitial = Callable[[StudyConfig, Population, int, Random], NewTrial | None]
"""What `Strategy.sample_initial` is."""


def rng_for(seed: int, number: int) -> Random:
    """The random numbers of the decision that makes trial `number`: they depend on nothing else."""
    return Random(f"broodline {seed} {number}")


def program_seed(seed: int, number: int) -> int:
    """The seed that the program of trial `number` is given, at every attempt: 31 bits."""
    return Random(f"broodline program {seed} {number}").getrandbits(31)


def next_trial(
    study: StudyConfig,
    progress: Progress,
    population: Population,
    *,
    strategy: Strategy,
    worker: str,
    held: Trial | None = None,
    sample_initial: SampleInitial | None = None,
) -> Decision:
    """Answers a worker that asks for a trial.

    Args:
        study: The study.
        progress: What it has spent, now.
        population: A view of its trials, in which every lease that ran out has been taken back.
        strategy: Who reproduces.
        worker: The name of the worker.
        held: The running trial that it holds already.
        begin: Decides how a member begins, in the strategy's place.
    """
    if progress.state in (StudyState.STOPPED, StudyState.FAILED):
        return End(reason=progress.reason or progress.state)
    if held is not None:
        return Resume(trial=held)
    over = _ends_at_once(study, progress, population)
    if not over and (pending := population.first_pending()):
        return Resume(trial=pending)
    new_trial = over or _new_trial(study, progress, population, strategy, sample_initial or strategy.sample_initial, worker)
    if isinstance(new_trial, NewTrial):
        return new_trial
    return Pause() if new_trial is None or population.any_running() else End(reason=new_trial)


def rerooted(study: StudyConfig, trial: Trial, parent: Trial | None, *, independent_lineages: bool = False) -> Trial:
    """A trial that is to start from another parent, because the checkpoint of its own was found damaged.

    It takes the params of the new parent as they are; without one it is drawn anew and starts from nothing.

    Args:
        study: The study.
        trial: The trial.
        parent: The new parent; None if there is none.
        separate: Lineages never mix: one that starts from nothing again does so with its own params.
    """
    if study.replay is not None:
        again = _replayed(study, trial, parent)
    elif parent is None and independent_lineages:
        again = trial.evolve(parent=None, start=0, changes=study.space.chosen(trial.params))
    elif parent is not None:
        kept = dict.fromkeys(parent.params, Change.KEPT)
        again = trial.evolve(parent=parent.number, start=parent.end, params=parent.params, changes=kept)
    else:
        new_trial = sampled_trial(study, member=trial.member, rng=rng_for(study.seed, trial.number))
        again = trial.evolve(parent=None, start=0, params=new_trial.params, changes=new_trial.changes)
    return again.evolve(damaged=trial.damaged if trial.damaged is not None else trial.parent)


def _replayed(study: StudyConfig, trial: Trial, parent: Trial | None) -> Trial:
    """A trial of a replay that trains, in the place of its own leg, the one that comes after its new parent."""
    assert study.replay is not None
    segment = study.replay.segments[0] if parent is None else study.replay.segment_after(parent)
    assert segment is not None
    return trial.evolve(
        parent=None if parent is None else parent.number,
        start=0 if parent is None else parent.end,
        steps=segment.steps,
        params=segment.params,
        changes=study.space.chosen(segment.params) if parent is None else study.space.followed(parent.params, segment.params),
        seed=replay_seed(study, trial.member, segment),
    )


def _new_trial(
    study: StudyConfig, progress: Progress, population: Population, strategy: Strategy, sample_initial: SampleInitial, worker: str
) -> NewTrial | str | None:
    """Returns a new trial, why there will be none, or None while that is open."""
    if over := _spent(study, progress):
        return over
    rng = rng_for(study.seed, progress.trials)
    if strategy.independent_lineages:
        return _of_lineages(study, population, strategy, sample_initial, worker, rng)
    if progress.trials < study.population:
        return sample_initial(study, population, progress.trials, rng)
    initiator = population.first_initiator(worker)
    if initiator is None:
        return None
    # Initiators come in order of generation: if this one's child would be too late, so would any other's.
    if study.budget.generations is not None and initiator.generation + 1 >= study.budget.generations:
        return f"{study.budget.generations} generations are done"
    return strategy.decide(study, population, initiator, rng)


def _of_lineages(
    study: StudyConfig, population: Population, strategy: Strategy, sample_initial: SampleInitial, worker: str, rng: Random
) -> NewTrial | str | None:
    """The next trial of a study whose lineages never mix: continues one, the worker's own first, or begins another.

    Of a member that has begun there is at most one trial at which its lineage can be continued.
    """
    generations = study.budget.generations
    leaves = population.leaves(None if generations is None else generations - 1)
    for tip in sorted(leaves, key=lambda trial: trial.worker != worker):
        new_trial = strategy.decide(study, population, tip, rng) if tip.can_be_parent else None
        if new_trial is not None:
            return new_trial
    member = population.members_started()
    return sample_initial(study, population, member, rng) if member < study.population else "every lineage has ended"


def _ends_at_once(study: StudyConfig, progress: Progress, population: Population) -> str | None:
    """Why even pending trials are not given out any more, if so."""
    budget = study.budget
    if progress.state is StudyState.STOPPING:
        return progress.reason or "stopped"
    if budget.time is not None and progress.elapsed >= budget.time:
        return f"{budget.time:g} s are spent"
    if budget.target is not None and any(
        trial.fitness and study.objective.reached(trial.fitness, budget.target) for trial in population.best(1)
    ):
        return f"the target of {budget.target:g} is reached"
    return None


def _spent(study: StudyConfig, progress: Progress) -> str | None:
    """Why no new trial may start, if so."""
    budget = study.budget
    if budget.trials is not None and progress.trials >= budget.trials:
        return f"{budget.trials} trials are done"
    if budget.total_steps is not None and progress.steps >= budget.total_steps:
        return f"{budget.total_steps} steps are done"
    return None
