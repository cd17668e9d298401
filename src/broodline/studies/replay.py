"""Defines the study that trains a lineage again."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from broodline.config.fields import nearest
from broodline.config.study import NAME, study_from
from broodline.core.lineage import lineage_of
from broodline.core.parameters import Fixed
from broodline.core.replay import Replay, ReplaySegment
from broodline.core.space import Space
from broodline.core.study import Budget, Evolution, StudyConfig
from broodline.core.trial import Trial, TrialState
from broodline.errors import SpaceError, StudyChanged, StudyNotFound, UsageError
from broodline.storage.base import Store
from broodline.storage.location import StudyLocation

SEEDS = ("recorded", "fresh")


def replay_of(
    source: StudyConfig,
    lineage: Sequence[Trial],
    *,
    name: str,
    copies: int = 1,
    only: Collection[str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    seeds: str = SEEDS[0],
    seed: int | None = None,
) -> StudyConfig:
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
    params = [_params(space, [trial.params for trial in path], index, only) for index in range(len(path))]
    segments = tuple(
        ReplaySegment(trial=t.number, start=t.start, steps=t.steps, params=p, seed=t.seed, metrics=dict(t.metrics or {}))
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
            segments=segments,
            seeds=seeds,
            only=None if only is None else tuple(sorted(set(only))),
            fixed=dict(fixed or {}),
        ),
    )


def _space(source: StudyConfig, fixed: Mapping[str, Any]) -> Space:
    try:
        return Space({**source.space.params, **{name: Fixed(value) for name, value in fixed.items()}})
    except SpaceError as error:
        raise UsageError(f"{error.key}: {error.problem}") from None


def _params(space: Space, lineage: Sequence[Mapping[str, Any]], index: int, only: Collection[str] | None) -> dict[str, Any]:
    """The params of one leg.

    A parameter whose condition did not hold at the beginning stays as it was when it came to exist.
    """

    def value(name: str, _param: Any) -> Any:
        follows = only is None or name in only
        order = [*lineage[index::-1], *lineage[index:]] if follows else lineage
        for params in order:
            if name in params:
                return params[name]
        raise UsageError(f"parameter '{name}' has no value in this lineage, and with these changes it needs one: set it too")

    return space.suggested(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """What is asked of a replay; None: as it was begun, or the default.

    Args:
        trial: Whose lineage; the default is the best trial.
        name: Of the replay; the default is SOURCE-replay-TRIAL.
        copies, only, fixed, seeds, seed: As of `replay_of`.
    """

    trial: int | None = None
    name: str | None = None
    copies: int | None = None
    only: Collection[str] | None = None
    fixed: Mapping[str, Any] | None = None
    seeds: str | None = None
    seed: int | None = None


def replay_in(location: StudyLocation, source: str, options: ReplayOptions) -> StudyConfig:
    """The replay that is wished for: the one that was begun under its name, or a new one, which is not created yet.

    One that was begun needs its source no more.

    Raises:
        UsageError: It can't be made.
        StudyChanged: There is another study of its name, or it was begun otherwise.
        StudyNotFound: There is no source.
    """
    with closing(location.open(create=False)) as store:
        if options.name is not None and options.name in store.studies():
            return _begun(store, source, options.name, options)
        with store.snapshot(source) as records:
            study = study_from(records.definition())
            best = next(iter(records.best(1)), None)
            if options.trial is None and best is None:
                raise UsageError(f"study '{source}': no trial has completed yet, so there is nothing to replay")
            number = best.number if options.trial is None and best is not None else options.trial
            assert number is not None
            lineage = lineage_of(number, records.trial)
        name = options.name or f"{source}-replay-{number}"
        if name in store.studies():
            return _begun(store, source, name, options)
    return replay_of(
        study,
        lineage,
        name=name,
        copies=options.copies or 1,
        only=options.only,
        fixed=options.fixed,
        seeds=options.seeds or SEEDS[0],
        seed=options.seed,
    )


def replay_named(store: Store, source: str, name: str) -> StudyConfig:
    """The replay of that name.

    Raises:
        StudyNotFound: There is no study of that name.
        StudyChanged: It is not a replay of that source.
    """
    if name not in store.studies():
        raise StudyNotFound(f"the store has no study '{name}'")
    with store.snapshot(name) as records:
        study = study_from(records.definition())
    if study.replay is None or study.replay.study != source:
        raise StudyChanged(f"study '{name}' exists, and is no replay of '{source}'; take another --name")
    return study


def _begun(store: Store, source: str, name: str, options: ReplayOptions) -> StudyConfig:
    study = replay_named(store, source, name)
    was = study.replay
    assert was is not None
    differences = [
        f"{what}: {before} -> {wished}"
        for what, before, wished in (
            ("trial", was.trial, options.trial),
            ("copies", study.population, options.copies),
            ("only", was.only, None if options.only is None else tuple(sorted(set(options.only)))),
            ("set", dict(was.fixed), None if options.fixed is None else dict(options.fixed)),
            ("seeds", was.seeds, options.seeds),
            ("seed", study.seed, options.seed),
        )
        if wished is not None and before != wished
    ]
    if differences:
        raise StudyChanged(
            f"replay '{name}' was begun otherwise:\n  " + "\n  ".join(differences) + "\nTake another --name for another replay."
        )
    return study


def with_programs_of(study: StudyConfig, other: StudyConfig) -> StudyConfig:
    """A replay that keeps checkpoints, and gives up, as another study says."""
    return replace(study, checkpoints=other.checkpoints, limits=other.limits)
