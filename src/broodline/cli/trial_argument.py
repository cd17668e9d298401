"""The argument that selects a trial: `--trial N`, or the best trial by default."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from broodline.cli.argument_types import natural_number
from broodline.cli.study_argument import Target, add_target
from broodline.errors import UsageError

if TYPE_CHECKING:
    from broodline.core.study import StudyConfig
    from broodline.core.trial import Trial
    from broodline.storage.base import Transaction


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that name a study and one of its trials."""
    add_target(parser)
    parser.add_argument("--trial", metavar="N", type=natural_number, help="use trial N (default: the best trial)")


def chosen_lineage(records: Transaction, target: Target, number: int | None) -> tuple[Trial, ...]:
    """The lineage of a trial, by number; None: of the best trial.

    Raises:
        UsageError: There is no such trial.
    """
    from broodline.core.lineage import lineage_of

    return lineage_of(best_of(records, target, 1)[0].number if number is None else number, records.trial)


def best_of(records: Transaction, target: Target, count: int | None) -> tuple[Trial, ...]:
    """The fittest completed trials, the fittest first.

    Args:
        records: Of the study.
        target: The study.
        count: At most so many; None: one, or the whole Pareto front for goals that are compared by Pareto improvement.

    Raises:
        UsageError: No trial has completed.
    """
    from broodline.config.study import study_from

    study = study_from(records.definition())
    found = _front(records)[:count] if _is_pareto(study) else records.best(count or 1)
    if not found:
        raise UsageError(f"study '{target.name}': no trial has completed yet, so there is no best trial")
    return tuple(found)


def _is_pareto(study: StudyConfig) -> bool:
    return len(study.objective.goals) > 1 and not study.objective.weighted


def _front(records: Transaction) -> list[Trial]:
    from broodline.core.objective import front
    from broodline.core.trial import TrialState

    return front(trial for trial in records.trials() if trial.state is TrialState.COMPLETED)
