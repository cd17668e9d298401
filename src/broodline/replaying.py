"""Makes a replay of a study in a store, or finds the one that was begun."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from broodline.config.study import study_from
from broodline.core.lineage import lineage_of
from broodline.core.study import Study
from broodline.errors import StudyChanged, StudyNotFound, UsageError
from broodline.storage.base import Store
from broodline.storage.location import Place
from broodline.studies.replay import SEEDS, replay_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
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


def replay_in(place: Place, source: str, wish: Wish) -> Study:
    """The replay that is wished for: the one that was begun under its name, or a new one, which is not created yet.

    One that was begun needs its source no more.

    Raises:
        UsageError: It can't be made.
        StudyChanged: There is another study of its name, or it was begun otherwise.
        StudyNotFound: There is no source.
    """
    with closing(place.open(create=False)) as store:
        if wish.name is not None and wish.name in store.studies():
            return _begun(store, source, wish.name, wish)
        with store.snapshot(source) as records:
            study = study_from(records.definition())
            best = next(iter(records.best(1)), None)
            if wish.trial is None and best is None:
                raise UsageError(f"study '{source}': no trial has completed yet, so there is nothing to replay")
            number = best.number if wish.trial is None and best is not None else wish.trial
            assert number is not None
            lineage = lineage_of(number, records.trial)
        name = wish.name or f"{source}-replay-{number}"
        if name in store.studies():
            return _begun(store, source, name, wish)
    return replay_of(
        study,
        lineage,
        name=name,
        copies=wish.copies or 1,
        only=wish.only,
        fixed=wish.fixed,
        seeds=wish.seeds or SEEDS[0],
        seed=wish.seed,
    )


def replay_named(store: Store, source: str, name: str) -> Study:
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


def _begun(store: Store, source: str, name: str, wish: Wish) -> Study:
    study = replay_named(store, source, name)
    was = study.replay
    assert was is not None
    differences = [
        f"{what}: {before} -> {wished}"
        for what, before, wished in (
            ("trial", was.trial, wish.trial),
            ("copies", study.population, wish.copies),
            ("only", was.only, None if wish.only is None else tuple(sorted(set(wish.only)))),
            ("set", dict(was.fixed), None if wish.fixed is None else dict(wish.fixed)),
            ("seeds", was.seeds, wish.seeds),
            ("seed", study.seed, wish.seed),
        )
        if wished is not None and before != wished
    ]
    if differences:
        raise StudyChanged(
            f"replay '{name}' was begun otherwise:\n  " + "\n  ".join(differences) + "\nTake another --name for another replay."
        )
    return study


def with_programs_of(study: Study, other: Study) -> Study:
    """A replay that keeps checkpoints, and gives up, as another study says."""
    return replace(study, checkpoints=other.checkpoints, limits=other.limits)
