"""Defines the study that trains a lineage again."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from broodline.config.fields import nearest
from broodline.config.study import NAME
from broodline.core.parameters import Fixed
from broodline.core.replay import Leg, Replay
from broodline.core.space import Space
from broodline.core.study import Budget, Evolution, Study
from broodline.core.trial import Trial, TrialState
from broodline.errors import SpaceError, UsageError

SEEDS = ("recorded", "fresh")


def replay_of(
    source: Study,
    lineage: Sequence[Trial],
    *,
    name: str,
    copies: int = 1,
    only: Collection[str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    seeds: str = SEEDS[0],
    seed: int | None = None,
) -> Study:
    """The study that trains a lineage again.

    Args:
        source: The study that has it.
        lineage: As `lineage_of` returns it: the trial first, the one that started from nothing last.
        name: Of the new study.
        copies: How often, each for itself.
        only: The parameters that follow the lineage; the others stay as they were at its beginning. None: all follow it.
        fixed: Parameters that have these values instead, in range or not.
        seeds: "recorded": the first copy has the seeds of the lineage, the others have fresh ones; "fresh": all have fresh ones.
        seed: Fresh seeds follow from it; None: from the source's seed and the name.

    Raises:
        UsageError: The trial has not completed, or a parameter has no value, or there is no such one.
    """
    if lineage[0].state is not TrialState.COMPLETED:
        raise UsageError(f"trial {lineage[0].number} is {lineage[0].state}: only a completed trial can be replayed")
    if seeds not in SEEDS:
        raise UsageError(f"seeds must be {' or '.join(SEEDS)}, not {seeds!r}")
    if copies < 1:
        raise UsageError(f"copies must be at least 1, not {copies}")
    if not re.fullmatch(NAME, name):
        raise UsageError(f"'{name}' is no name for a study: 1 to 100 letters, digits, '.', '_' and '-'; choose another one")
    for param in (*(only or ()), *(fixed or {})):
        if param not in source.space.params:
            known = tuple(source.space.params)
            raise UsageError(
                f"study '{source.name}' has no parameter '{param}'{nearest(param, known)}; it has: {', '.join(known)}"
            )
    space = _space(source, fixed or {})
    path = list(reversed(lineage))
    params = [_params(space, [trial.params for trial in path], place, only) for place in range(len(path))]
    legs = tuple(
        Leg(trial=t.number, start=t.start, steps=t.steps, params=p, seed=t.seed, metrics=dict(t.metrics or {}))
        for t, p in zip(path, params, strict=True)
    )
    return replace(
        source,
        name=name,
        space=space,
        population=copies,
        workers=min(copies, source.workers),
        seed=Random(f"broodline replay {source.seed} {name}").getrandbits(31) if seed is None else seed,
        evolution=Evolution(strategy="replay"),
        budget=Budget(),
        stopping=None,
        replay=Replay(
            study=source.name,
            trial=lineage[0].number,
            legs=legs,
            seeds=seeds,
            only=None if only is None else tuple(sorted(set(only))),
            fixed=dict(fixed or {}),
        ),
    )


def _space(source: Study, fixed: Mapping[str, Any]) -> Space:
    try:
        return Space({**source.space.params, **{name: Fixed(value) for name, value in fixed.items()}})
    except SpaceError as error:
        raise UsageError(f"{error.key}: {error.problem}") from None


def _params(space: Space, lineage: Sequence[Mapping[str, Any]], place: int, only: Collection[str] | None) -> dict[str, Any]:
    """The params of one leg.

    A parameter whose condition did not hold at the beginning stays as it was when it came to exist.
    """

    def value(name: str, _param: Any) -> Any:
        follows = only is None or name in only
        order = [*lineage[place::-1], *lineage[place:]] if follows else lineage
        for params in order:
            if name in params:
                return params[name]
        raise UsageError(f"parameter '{name}' has no value in this lineage, and with these changes it needs one: set it too")

    return space.suggested(value)
