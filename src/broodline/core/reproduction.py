"""Who reproduces: one file a strategy, each a frozen dataclass with pure methods.

Here is what they share: the protocol, drawing an opponent, and making a child.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from broodline.core.population import NewTrial, Population
from broodline.core.replay import ReplaySegment
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial, TrialState

# Drawing a member and a place until one is taken is uniform over all that are taken, and needs no list of them.
# While few trials have completed it may take long: then it is drawn from the members that have any, and in the end from a list.
_DRAWS = 32


def draw_opponent(study: StudyConfig, population: Population, member: int, rng: Random) -> Trial | None:
    """Draws uniformly from the last two completed trials of every other member; None if there are none."""
    if study.population == 1:
        return None
    for _ in range(_DRAWS):
        other = rng.randrange(study.population - 1)
        index = rng.randrange(2)
        completed = population.last_completed(other + (other >= member))
        if index < len(completed) and completed[index].can_be_parent:
            return completed[index]
    others = [other for other in population.members_with_completed() if other != member]
    for _ in range(_DRAWS if others else 0):
        completed = population.last_completed(rng.choice(others))
        index = rng.randrange(2)
        if index < len(completed) and completed[index].can_be_parent:
            return completed[index]
    candidates = [trial for m in others for trial in population.last_completed(m) if trial.can_be_parent]
    return rng.choice(sorted(candidates, key=lambda trial: trial.number)) if candidates else None


def initial_trial(study: StudyConfig, *, member: int, params: Mapping[str, Any]) -> NewTrial:
    """A trial that starts from nothing with these params."""
    return NewTrial(member=member, generation=0, params=params, changes=study.space.chosen(params))


def sampled_trial(study: StudyConfig, *, member: int, rng: Random, initiator: Trial | None = None) -> NewTrial:
    """A trial that starts from nothing, its params drawn from the search space."""
    params, changes = study.space.draw(rng)
    generation = 0 if initiator is None else initiator.generation + 1
    return NewTrial(
        member=member,
        generation=generation,
        params=params,
        changes=changes,
        initiator=None if initiator is None else initiator.number,
    )


def child_of(
    study: StudyConfig,
    *,
    initiator: Trial,
    parent: Trial | None,
    rng: Random,
    opponent: Trial | None = None,
    unchanged: bool = False,
) -> NewTrial:
    """The child that takes the place of its initiator and starts from the weights and the params of its parent.

    Args:
        initiator: Whose member and generation it follows.
        parent: A completed trial; None if there is none to start from: then the child is drawn anew.
        opponent: Whom the initiator was compared with.
        unchanged: Leave the parent's params as they are.
    """
    if parent is None:
        return sampled_trial(study, member=initiator.member, rng=rng, initiator=initiator)
    other = initiator if parent is opponent else opponent
    knobs = study.evolution
    params, changes = study.space.evolve(
        parent.params,
        other.params if other is not None and other.state is TrialState.COMPLETED else None,
        rng,
        mutate=0.0 if unchanged else knobs.mutate,
        resample=knobs.resample,
        crossover=0.0 if unchanged else knobs.crossover,
        factors=knobs.factors,
    )
    return NewTrial(
        member=initiator.member,
        generation=initiator.generation + 1,
        params=params,
        changes=changes,
        start=parent.end,
        parent=parent.number,
        initiator=initiator.number,
        opponent=None if opponent is None else opponent.number,
    )


def replay_seed(study: StudyConfig, member: int, segment: ReplaySegment) -> int:
    """The seed that a copy of a replay is given for a leg: the recorded one, or a fresh one, on which no worker's pace tells."""
    if study.replay is not None and study.replay.seeds == "recorded" and member == 0:
        return segment.seed
    return Random(f"broodline replay {study.seed} {member} {segment.trial}").getrandbits(31)
