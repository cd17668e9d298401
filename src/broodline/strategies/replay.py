"""Strategy `replay`: each member retrains a recorded lineage."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import ClassVar

from broodline.core.population import NewTrial, Population
from broodline.core.replay import Replay
from broodline.core.reproduction import replay_seed
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial
from broodline.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageReplay(Strategy):
    """Each member is a copy of the lineage: its trials have the params and the steps of the recorded trials, in order."""

    independent_lineages: ClassVar[bool] = True

    def check(self, study: StudyConfig) -> None:
        if study.replay is None:
            raise UsageError(
                f"study '{study.name}' has strategy 'replay' and no lineage to replay; `broodline replay` makes such studies"
            )

    def sample_initial(self, study: StudyConfig, population: Population, member: int, rng: Random) -> NewTrial | None:
        segment = _replay_of(study).segments[0]
        return NewTrial(
            member=member,
            generation=0,
            params=segment.params,
            changes=study.space.chosen(segment.params),
            steps=segment.steps,
            seed=replay_seed(study, member, segment),
        )

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        segment = _replay_of(study).segment_after(initiator)
        if segment is None:
            return None
        return NewTrial(
            member=initiator.member,
            generation=initiator.generation + 1,
            params=segment.params,
            changes=study.space.followed(initiator.params, segment.params),
            start=initiator.end,
            parent=initiator.number,
            initiator=initiator.number,
            steps=segment.steps,
            seed=replay_seed(study, initiator.member, segment),
        )

    def ends_lineage(self, study: StudyConfig, trial: Trial) -> bool:
        return _replay_of(study).segment_after(trial) is None


def _replay_of(study: StudyConfig) -> Replay:
    assert study.replay is not None
    return study.replay
