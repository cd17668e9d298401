"""The progress of a study, as calls and finished trials change it."""

from __future__ import annotations

from broodline.core.failing import failures_after, problem_after
from broodline.core.population import Progress, StudyState
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial, TrialState


def touched(progress: Progress, now: float, lease: float) -> Progress:
    """The progress with the time since the last call added. After more than a lease without a call the study was idle."""
    since = 0.0 if progress.touched is None else now - progress.touched
    active = since if 0 <= since <= lease else 0.0
    return progress.evolve(elapsed=progress.elapsed + active, touched=now)


def counted(study: StudyConfig, progress: Progress, before: Trial, after: Trial) -> Progress:
    """The progress after a trial finished; the study fails if too many did (`core.failing`)."""
    progress = progress.evolve(
        finished=progress.finished + 1,
        completed=progress.completed + (after.state is TrialState.COMPLETED),
        failures=failures_after(progress, after),
        steps=progress.steps + after.steps - before.steps,
    )
    if progress.state is StudyState.FAILED:
        return progress
    problem = problem_after(study, progress, after)
    return progress if problem is None else progress.evolve(state=StudyState.FAILED, reason=problem)
