"""The comparison of a replay with its source: at each step of the lineage, the metrics of the source and of the copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broodline.core.study import StudyConfig
from broodline.core.trial import Trial, TrialState


def finals(study: StudyConfig, trials: Sequence[Trial]) -> list[Trial]:
    """The last trial of each copy that reached the end of the lineage, by copy."""
    assert study.replay is not None
    completed = [trial for trial in trials if trial.state is TrialState.COMPLETED]
    return sorted((trial for trial in completed if study.replay.segment_after(trial) is None), key=lambda trial: trial.member)


def comparison(study: StudyConfig, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """The segments of the lineage, each with its trial and end step in the source, and the metrics of source and copies."""
    replay = study.replay
    assert replay is not None
    completed = [trial for trial in trials if trial.state is TrialState.COMPLETED]
    # A copy trains a segment twice if a checkpoint was corrupt; the later trial counts.
    trained = {(replay.place_of(trial), trial.member): trial for trial in completed}
    return [
        {
            "trial": segment.trial,
            "step": segment.start + segment.steps,
            "metrics": {
                goal.metric: {
                    "source": segment.metrics.get(goal.metric),
                    "copies": [_metric(trained.get((index, member)), goal.metric) for member in range(study.population)],
                }
                for goal in study.objective.goals
            },
        }
        for index, segment in enumerate(replay.segments)
    ]


def _metric(trial: Trial | None, name: str) -> Any:
    return None if trial is None else (trial.metrics or {}).get(name)
