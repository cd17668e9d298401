"""The main loop of a study as one pure function: which trial an idle worker gets.

Theory of operation
===================

Workers ask for a trial when they are idle; nothing runs in between. `next_trial` looks at the records and answers with one of
four decisions: make a new trial, resume an existing one, pause, or end. The first rule that applies decides:

1. The study was stopped or has failed: end.
2. The worker already holds a running trial: resume it. The worker asked twice, or did not receive the answer.
3. The budget is used up: end, or pause while trials run, because a running trial may still return to pending.
4. A trial is pending: resume the one with the lowest number.
5. The population is not complete: the strategy samples the first trial of the next member.
6. A finished trial has not initiated yet: the strategy decides on its child. The lowest generation comes first, so lineages stay
   of similar age; within it the worker's own last trial, whose data may still be in memory.
7. Otherwise pause while trials run, and end when none does.

Every finished trial initiates exactly once, so the population keeps its size whatever fails. No rule waits for a generation to
finish, so workers of different speed stay busy.

Strategies with independent lineages replace rules 5 and 6: they continue a started lineage first and start another member only
when none waits (depth first), so at most as many configurations are in training as there are workers.

All randomness of a decision comes from the study's seed and the number of the new trial. The same sequence of asks and reports
therefore makes the same trials, in any controller, before or after a restart.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from broodline.core.population import Decision, End, NewTrial, Pause, Population, Progress, Resume, StudyState
from broodline.core.reproduction import replay_seed, sampled_trial
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Change, Trial

SampleInitial = Callable[[StudyConfig, Population, int, Random], NewTrial | None]
"""The type of `Strategy.sample_initial`."""


def rng_for(seed: int, number: int) -> Random:
    """The random numbers of the decision that makes trial `number`; they depend on the two arguments only."""
    return Random(f"broodline {seed} {number}")


def program_seed(seed: int, number: int) -> int:
    """The seed that the program of trial `number` receives, the same at every attempt: 31 bits."""
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
    """Decides on the trial of a worker that asks for one.

    Args:
        study: The study.
        progress: The used budget, now.
        population: A view of its trials, in which every expired lease has been taken back.
        strategy: Makes new trials.
        worker: The name of the worker.
        held: The running trial that the worker already holds.
        sample_initial: Makes the first trial of a member, in place of the strategy's `sample_initial`.
    """
    if progress.state in (StudyState.STOPPED, StudyState.FAILED):
        return End(reason=progress.reason or progress.state)
    # The worker lost the answer to its last ask: the same trial again, so that a repeated ask has no second effect.
    if held is not None:
        return Resume(trial=held)
    over = _ends_at_once(study, progress, population)
    # Pending trials come first: their decisions are made and saved, and the budget counts them.
    if not over and (pending := population.first_pending()):
        return Resume(trial=pending)
    new_trial = over or _new_trial(study, progress, population, strategy, sample_initial or strategy.sample_initial, worker)
    if isinstance(new_trial, NewTrial):
        return new_trial
    # No study ends while a trial runs: it may fail and be pending again, or become the initiator of another trial.
    return Pause() if new_trial is None or population.any_running() else End(reason=new_trial)


def rerooted(study: StudyConfig, trial: Trial, parent: Trial | None, *, independent_lineages: bool = False) -> Trial:
    """The trial with another parent, because the checkpoint of its first parent is corrupt.

    The trial takes the params of the new parent unchanged. Without a parent its params are sampled and it starts from nothing.

    Args:
        study: The study.
        trial: The trial.
        parent: The new parent; None if there is none.
        independent_lineages: Lineages never mix: a trial without a parent keeps its own params.
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
    # The first corrupt parent stays on record, however many replacements follow it.
    return again.evolve(damaged=trial.damaged if trial.damaged is not None else trial.parent)


def _replayed(study: StudyConfig, trial: Trial, parent: Trial | None) -> Trial:
    """The trial of a replay with the segment that follows its new parent, in place of its own segment."""
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
    """Returns a new trial, the reason why there will be none, or None while that is open."""
    if over := _used_up(study, progress):
        return over
    # The generator follows from the number that the new trial will have, so no generator's state is kept between decisions.
    rng = rng_for(study.seed, progress.trials)
    if strategy.independent_lineages:
        return _of_lineages(study, population, strategy, sample_initial, worker, rng)
    # Each member starts before any reproduces: a tournament needs the whole population to draw from.
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
    """The next trial of a study with independent lineages: continues one, the worker's own first, or starts another.

    Each started member has at most one leaf at which its lineage can continue.
    """
    generations = study.budget.generations
    leaves = population.leaves(None if generations is None else generations - 1)
    for leaf in sorted(leaves, key=lambda trial: trial.worker != worker):
        new_trial = strategy.decide(study, population, leaf, rng) if leaf.can_be_parent else None
        if new_trial is not None:
            return new_trial
    member = population.members_started()
    return sample_initial(study, population, member, rng) if member < study.population else "every lineage has ended"


def _ends_at_once(study: StudyConfig, progress: Progress, population: Population) -> str | None:
    """The reason why not even pending trials are leased any more, if there is one."""
    budget = study.budget
    if progress.state is StudyState.STOPPING:
        return progress.reason or "stopped"
    if budget.time is not None and progress.elapsed >= budget.time:
        return f"{budget.time:g} s are used up"
    if budget.target is not None and any(
        trial.fitness and study.objective.reached(trial.fitness, budget.target) for trial in population.best(1)
    ):
        return f"the target of {budget.target:g} is reached"
    return None


def _used_up(study: StudyConfig, progress: Progress) -> str | None:
    """The reason why no new trial may start, if there is one."""
    budget = study.budget
    if budget.trials is not None and progress.trials >= budget.trials:
        return f"{budget.trials} trials are done"
    if budget.total_steps is not None and progress.steps >= budget.total_steps:
        return f"{budget.total_steps} steps are done"
    return None
