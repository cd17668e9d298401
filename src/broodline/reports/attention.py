"""The warnings of `status`: trials that lose their workers, are retried or stopped, or seem to have trained nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from broodline.core.population import Progress
from broodline.core.study import StudyConfig
from broodline.core.text import printable
from broodline.core.trial import Trial, TrialState
from broodline.reports.format import format_count


def warnings_of_doubts(count: int, first: Trial | None, progress: Progress) -> list[str]:
    """A warning about the trials that seem to have trained nothing, if there are any.

    Args:
        count: How many there are.
        first: The first of them.
        progress: The progress of the study.
    """
    if first is None:
        return []
    return [
        f"{count:,} of {format_count(progress.completed, 'completed trial')} trained nothing, or nearly so; "
        f"trial {first.number} {printable(first.reason or '')}: a trial trains `steps` more steps, so a program that counts "
        "them absolutely, as max_steps does, has to train up to start + steps; `broodline check` tests the program"
    ]


def warnings_of_trials(study: StudyConfig, unfinished: Sequence[Trial], now: float) -> list[str]:
    """Warnings about the unfinished trials of a study, at a time of the store's clock."""
    return [warning for trial in unfinished for warning in _warnings(study, trial, now)]


def _warnings(study: StudyConfig, trial: Trial, now: float) -> Iterator[str]:
    running = trial.state is TrialState.RUNNING
    if trial.lost:
        yield f"trial {trial.number} has lost its worker {format_count(trial.lost, 'time')} (fails at {study.limits.max_lost})"
    if running and trial.reason:
        yield f"trial {trial.number} is being stopped early: {printable(trial.reason).splitlines()[0]}"
    elif trial.failures:
        yield f"trial {trial.number} is being retried: {printable(trial.reason or 'its program failed').splitlines()[0]}"
    if running and not trial.is_leased(now):
        yield (
            f"trial {trial.number}: the lease of worker {trial.worker} has expired; "
            "the next worker that asks for work gets the trial"
        )
