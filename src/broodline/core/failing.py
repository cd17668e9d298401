"""Decides whether so many trials fail that the study must not use up its budget.

Theory of operation. Three rules distinguish a broken program from bad luck:

* *At the start*, the study fails if its first trials all fail: `max_failures` of them if that is set. Without it, min(N, 5) of
  them, and at least half of all trials that were started: the first 5 failures among 2,000 running workers prove nothing.
* *Later*, it fails when more than 9 of 10 trials fail for long enough. One counter shows that without a list of trials: each
  failure adds 1, and each trial that trained takes 9 away. It rises only while the share of failures is above 9 of 10 (a CUSUM
  chart), and the study fails when it reaches 2N, 12, or `max_failures`, whichever is the highest. So one outage that fails all
  running trials at once ends no study.
* *At the end*, a study whose last trials all failed, and most of the recent ones with them, has failed and is not done.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from broodline.core.population import Progress
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial, TrialState

RECENT = 200
"""The last trials, among which failures are looked for."""

_FORGIVEN = 9  # failures that one trial that trained makes up for
_ENOUGH = 12  # failures in a row that are no accident, in a population of any size
_AT_THE_END = 3


def failures_after(progress: Progress, after: Trial) -> int:
    """The counter of failures after another trial has finished."""
    if after.state is TrialState.FAILED:
        return progress.failures + 1
    return max(0, progress.failures - _FORGIVEN)


def problem_after(study: StudyConfig, progress: Progress, last: Trial) -> str | None:
    """The reason why the study fails now, if it does.

    Args:
        study: The study.
        progress: The progress, in which the last trial is counted.
        last: The trial that has just finished.
    """
    if last.state is not TrialState.FAILED:
        return None
    if not progress.completed:
        first = f"the first {progress.failures} trials all failed, the last one: {_described(last)}"
        return first if _at_start(study, progress) else None
    if progress.failures < max(_ENOUGH, 2 * study.population, study.limits.max_failures or 0):
        return None
    unsuccessful = progress.finished - progress.completed
    counts = f"{unsuccessful} of {progress.finished} in all"
    return f"nearly all of the last trials failed ({counts}), the last one: {_described(last)}"


def problem_at_end(study: StudyConfig, recent: Sequence[Trial]) -> str | None:
    """The reason why a study whose budget is used up has failed, if it has.

    Args:
        study: The study.
        recent: Its last trials.
    """
    finished = sorted((trial for trial in recent if trial.state.finished), key=lambda trial: trial.finished or 0.0)
    failed = [trial for trial in finished if trial.state is TrialState.FAILED]
    tail = finished[-failures_at_end(study) :]
    if 2 * len(failed) <= len(finished) or any(trial.state is not TrialState.FAILED for trial in tail):
        return None
    return f"{len(failed)} of the last {len(finished)} trials failed, the last one: {_described(failed[-1])}"


def failures_at_end(study: StudyConfig) -> int:
    """The number of last trials that must all have failed for a study to fail at its end."""
    return max(_AT_THE_END, _limit(study))


def commonest_reasons(trials: Sequence[Trial]) -> list[tuple[str, int]]:
    """The reasons of failed trials by their number, the commonest first; reasons that differ in numbers alone count as one."""
    failed = [trial for trial in trials if trial.state is TrialState.FAILED]
    lines = [(trial.reason or "no reason given").splitlines()[0] for trial in failed]
    # Reasons hold numbers of steps, ports and processes: without them equal failures look equal.
    kinds = Counter(map(_without_numbers, lines))
    example = {_without_numbers(line): line for line in reversed(lines)}
    return [(example[kind], count) for kind, count in kinds.most_common()]


def _at_start(study: StudyConfig, progress: Progress) -> bool:
    if study.limits.max_failures is not None:
        return progress.failures >= study.limits.max_failures
    return progress.failures >= _limit(study) and 2 * progress.failures >= progress.trials


def _limit(study: StudyConfig) -> int:
    return study.limits.max_failures or min(study.population, 5)


def _described(trial: Trial) -> str:
    return f"{trial.reason}" + (f"\n{trial.output}" if trial.output else "")


def _without_numbers(line: str) -> str:
    return re.sub(r"\d+", "#", line)
