"""The progress of a study, as calls and finished trials change it."""

from __future__ import annotations

from broodline.core.population import Progress, StudyState
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial, TrialState


def touched(progress: Progress, now: float, lease: float) -> Progress:
    """The progress with the time since the last call added. After more than a lease without a call the study was idle."""
    since = 0.0 if progress.touched is None else now - progress.touched
    active = since if 0 <= since <= lease else 0.0
    return progress.evolve(elapsed=progress.elapsed + active, touched=now)


def counted(study: StudyConfig, progress: Progress, before: Trial, after: Trial) -> Progress:
    """The progress after a trial finished; the study fails if its first trials all did."""
    completed = progress.completed + (after.state is TrialState.COMPLETED)
    failures = progress.failures + (after.state is TrialState.FAILED and not completed)
    progress = progress.evolve(
        finished=progress.finished + 1,
        completed=completed,
        failures=failures,
        steps=progress.steps + after.steps - before.steps,
    )
    limit = study.limits.max_failures or min(study.population, 5)
    if completed or failures < limit or progress.state is StudyState.FAILED:
        return progress
    last = f": {after.reason}" + (f"\n{after.output}" if after.output else "")
    return progress.evolve(state=StudyState.FAILED, reason=f"the first {failures} trials all failed, the last one{last}")
