"""Making new trials: the functions that strategies share.

A strategy chooses a parent; `child_of` makes the child. `draw_opponent` draws the other contestant of a tournament.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from broodline.core.options import option
from broodline.core.population import NewTrial, Population
from broodline.core.replay import ReplaySegment
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial, TrialState

# Rejection sampling over (member, place) is uniform over all candidates and needs no list of them.
# While few trials have completed, most draws are rejected: then only members with a completed trial are drawn from, and
# finally a list of the candidates.
_DRAWS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class MutationOptions:
    """The options of strategies whose children mutate. Each parameter mutates independently of the others."""

    mutate: float = option(1 / 3, at_least=0, at_most=1, help="the probability that a parameter mutates")
    resample: float = option(
        0.0, at_least=0, at_most=1, help="the probability that a parameter which mutates is sampled from its whole range instead"
    )
    factors: tuple[float, ...] = option(
        (0.8, 1.2), above=0, other_than=1, help="a number mutates by one of these factors, drawn uniformly"
    )


_UNCHANGED = MutationOptions(mutate=0.0)


def draw_opponent(study: StudyConfig, population: Population, member: int, rng: Random) -> Trial | None:
    """Draws uniformly from the last two completed trials of every other member; returns None if there are none."""
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
    mutation: MutationOptions | None = None,
    crossover: float = 0.0,
) -> NewTrial:
    """The child of an initiator: it starts from the weights and the params of its parent.

    Args:
        initiator: The finished trial that the child follows: same member, next generation.
        parent: A completed trial; None if there is none: then the child starts from nothing, with sampled params.
        opponent: The trial that the initiator was compared with.
        mutation: How the parent's params change; None: they don't.
        crossover: The probability that a parameter is taken from the contestant that is not the parent.
    """
    if parent is None:
        return sampled_trial(study, member=initiator.member, rng=rng, initiator=initiator)
    other = initiator if parent is opponent else opponent
    changing = mutation or _UNCHANGED
    params, changes = study.space.evolve(
        parent.params,
        other.params if other is not None and other.state is TrialState.COMPLETED else None,
        rng,
        mutate=changing.mutate,
        resample=changing.resample,
        crossover=crossover,
        factors=changing.factors,
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
    """The program's seed for a segment of a replay: the recorded one, or a fresh one.

    A fresh seed depends on the copy and the segment only, so it is the same whichever worker asks first.
    """
    if study.replay is not None and study.replay.seeds == "recorded" and member == 0:
        return segment.seed
    return Random(f"broodline replay {study.seed} {member} {segment.trial}").getrandbits(31)
