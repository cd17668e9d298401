"""A replay: a study that retrains a lineage from scratch along its schedule.

`replay_of` defines a replay from a lineage, as a pure function. `replay_in` looks into a store: it returns the replay that
exists under the name, or defines a new one. The definition of a replay holds its whole lineage, so it needs its source no more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
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
from broodline.storage.base import Store, Transaction
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
    """The definition of a replay.

    Args:
        source: The study of the lineage.
        lineage: As `lineage_of` returns it: the replayed trial first, the trial without a parent last.
        name: The name of the replay.
        copies: The number of members, each of which retrains the lineage.
        only: The parameters that follow the lineage. The others keep their first value. None: all follow it.
        fixed: Values for parameters that hold for the whole lineage, inside or outside of their range.
        seeds: "recorded": the first copy has the seeds of the lineage, the others have fresh ones. "fresh": all have fresh ones.
        seed: The seed of the replay, from which fresh seeds are drawn; None: derived from the source's seed and the name.

    Raises:
        UsageError: The trial has not completed, or a parameter is unknown or has no value.
    """
    _check(lineage[0], name=name, copies=copies, seeds=seeds)
    _check_params(source, (*(only or ()), *(fixed or {})))
    space = _space(source, fixed or {})
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
            segments=_segments(space, lineage, only),
            seeds=seeds,
            only=None if only is None else tuple(sorted(set(only))),
            fixed=dict(fixed or {}),
        ),
    )


def _check(trial: Trial, *, name: str, copies: int, seeds: str) -> None:
    if trial.state is not TrialState.COMPLETED:
        raise UsageError(f"trial {trial.number} is {trial.state}: only a completed trial can be replayed")
    if seeds not in SEEDS:
        raise UsageError(f"seeds must be {' or '.join(SEEDS)}, got {seeds!r}")
    if copies < 1:
        raise UsageError(f"copies must be at least 1, got {copies}")
    if not re.fullmatch(NAME, name):
        raise UsageError(f"name: must be 1 to 100 letters, digits, '.', '_' and '-', got '{name}'")


def _check_params(source: StudyConfig, names: Sequence[str]) -> None:
    known = tuple(source.space.params)
    for name in names:
        if name not in known:
            raise UsageError(f"study '{source.name}' has no parameter '{name}'{nearest(name, known)}; it has: {', '.join(known)}")


def _segments(space: Space, lineage: Sequence[Trial], only: Collection[str] | None) -> tuple[ReplaySegment, ...]:
    path = list(reversed(lineage))
    params = [_params(space, [trial.params for trial in path], index, only) for index in range(len(path))]
    return tuple(
        ReplaySegment(trial=t.number, start=t.start, steps=t.steps, params=p, seed=t.seed, metrics=dict(t.metrics or {}))
        for t, p in zip(path, params, strict=True)
    )


def _space(source: StudyConfig, fixed: Mapping[str, Any]) -> Space:
    try:
        return Space({**source.space.params, **{name: Fixed(value) for name, value in fixed.items()}})
    except SpaceError as error:
        raise UsageError(f"{error.key}: {error.problem}") from None


def _params(space: Space, lineage: Sequence[Mapping[str, Any]], index: int, only: Collection[str] | None) -> dict[str, Any]:
    """The parameters of one segment.

    A parameter that follows the lineage has its value in this segment. If its condition does not hold there, and holds in the
    replay, it takes the nearest earlier value, or else the next later one. A parameter that does not follow has its first value.
    """

    def value(name: str, _param: Any) -> Any:
        follows = only is None or name in only
        # The nearest earlier value first: it is the one that the weights were last trained with.
        order = [*lineage[index::-1], *lineage[index:]] if follows else lineage
        for params in order:
            if name in params:
                return params[name]
        raise UsageError(f"parameter '{name}' has no value in this lineage\nhelp: set it too: --set {name}=VALUE")

    return space.suggested(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """The options of a replay. None: the value of the replay that exists, or the default of a new one.

    Args:
        trial: The number of the trial whose lineage is retrained; the default is the best trial.
        name: The name of the replay; the default is SOURCE-replay-TRIAL.
        copies, only, fixed, seeds, seed: As in `replay_of`.
    """

    trial: int | None = None
    name: str | None = None
    copies: int | None = None
    only: Collection[str] | None = None
    fixed: Mapping[str, Any] | None = None
    seeds: str | None = None
    seed: int | None = None


def replay_in(location: StudyLocation, source: str, options: ReplayOptions) -> StudyConfig:
    """The definition of a replay: of the one that exists under its name, or of a new one.

    A replay that exists is found without its source, if the options name it. This function creates nothing.

    Args:
        location: The store of the source and of the replay.
        source: The name of the source.
        options: The options of the caller.

    Raises:
        UsageError: The options are wrong, or no trial has completed.
        StudyChanged: Another study has the name, or the replay exists with other options.
        StudyNotFound: The source does not exist.
    """
    with closing(location.open(create=False)) as store:
        # The source may be deleted by now; a replay holds all that it needs.
        if options.name is not None and options.name in store.studies():
            return _existing(store, source, options.name, options)
        with store.snapshot(source) as records:
            study = study_from(records.definition())
            lineage = lineage_of(_best(records, source) if options.trial is None else options.trial, records.trial)
        name = options.name or f"{source}-replay-{lineage[0].number}"
        if name in store.studies():
            return _existing(store, source, name, options)
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
    """The definition of an existing replay.

    Raises:
        StudyNotFound: The store has no study of that name.
        StudyChanged: The study is not a replay of that source.
    """
    if name not in store.studies():
        raise StudyNotFound(f"the store has no study '{name}'")
    with store.snapshot(name) as records:
        study = study_from(records.definition())
    if study.replay is None or study.replay.study != source:
        raise StudyChanged(f"study '{name}' exists and is not a replay of '{source}'\nhelp: choose another name with --name")
    return study


def with_programs_of(study: StudyConfig, other: StudyConfig) -> StudyConfig:
    """A replay with the checkpoint rules and the failure limits of another study, which come with its programs."""
    return replace(study, checkpoints=other.checkpoints, limits=other.limits)


def _best(records: Transaction, study: str) -> int:
    best = next(iter(records.best(1)), None)
    if best is None:
        raise UsageError(f"study '{study}': no trial has completed yet, so there is nothing to replay")
    return best.number


def _existing(store: Store, source: str, name: str, options: ReplayOptions) -> StudyConfig:
    study = replay_named(store, source, name)
    differences = [
        f"{option}: {stored} -> {given}"
        for option, stored, given in _stored_and_given(study, options)
        if given is not None and given != stored
    ]
    if differences:
        changes = "\n  ".join(differences)
        raise StudyChanged(f"replay '{name}' exists with other options:\n  {changes}\nhelp: choose another name with --name")
    return study


def _stored_and_given(study: StudyConfig, options: ReplayOptions) -> Iterator[tuple[str, Any, Any]]:
    replay = study.replay
    assert replay is not None
    yield "trial", replay.trial, options.trial
    yield "copies", study.population, options.copies
    yield "only", replay.only, None if options.only is None else tuple(sorted(set(options.only)))
    yield "set", dict(replay.fixed), None if options.fixed is None else dict(options.fixed)
    yield "seeds", replay.seeds, options.seeds
    yield "seed", study.seed, options.seed
