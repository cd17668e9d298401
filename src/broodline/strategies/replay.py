"""Replay: a recorded lineage is trained again, by every member."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import ClassVar

from broodline.core.population import Birth, Population
from broodline.core.replay import Replay
from broodline.core.reproduction import replay_seed
from broodline.core.strategy import Strategy
from broodline.core.study import Study
from broodline.core.trial import Trial
from broodline.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed(Strategy):
    """Each member is a copy of the lineage: its trials have the params and steps of the lineage's, one after the other."""

    separate: ClassVar[bool] = True

    def check(self, study: Study) -> None:
        if study.replay is None:
            raise UsageError(
                f"study '{study.name}' has strategy replay, and nothing to replay; `broodline replay` makes such studies"
            )

    def begin(self, study: Study, population: Population, member: int, rng: Random) -> Birth | None:
        leg = _of(study).legs[0]
        return Birth(
            member=member,
            generation=0,
            params=leg.params,
            changes=study.space.chosen(leg.params),
            steps=leg.steps,
            seed=replay_seed(study, member, leg),
        )

    def decide(self, study: Study, population: Population, initiator: Trial, rng: Random) -> Birth | None:
        leg = _of(study).leg_after(initiator)
        if leg is None:
            return None
        return Birth(
            member=initiator.member,
            generation=initiator.generation + 1,
            params=leg.params,
            changes=study.space.followed(initiator.params, leg.params),
            start=initiator.end,
            parent=initiator.number,
            initiator=initiator.number,
            steps=leg.steps,
            seed=replay_seed(study, initiator.member, leg),
        )


def _of(study: Study) -> Replay:
    assert study.replay is not None
    return study.replay
