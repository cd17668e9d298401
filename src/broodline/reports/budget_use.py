"""How much of each budget of a study is used."""

from __future__ import annotations

from dataclasses import dataclass

from broodline.core.population import Progress
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """How much of one budget is used.

    Args:
        name: The budget's key in a study file.
        used, limit: In seconds, trials, generations or steps. For a target: the best value so far, if any, and the target.
        fraction: From 0 to 1; None for a target that is not reached.
    """

    name: str
    used: float | None
    limit: float
    fraction: float | None


def budget_use(study: StudyConfig, progress: Progress, elapsed: float, best: Trial | None) -> tuple[BudgetUse, ...]:
    """The use of each budget that is set.

    Args:
        study, progress: The study.
        elapsed: Seconds of activity up to now.
        best: The fittest trial, if any.
    """
    budget = study.budget
    use = {
        "time": (elapsed, budget.time),
        "trials": (progress.trials, budget.trials),
        "generations": (progress.trials / study.population, budget.generations),
        "total_steps": (progress.steps, budget.total_steps),
    }
    limited = [
        BudgetUse(name=name, used=used, limit=limit, fraction=min(1.0, used / limit) if limit else 1.0)
        for name, (used, limit) in use.items()
        if limit is not None
    ]
    return (*limited, *_target(study, best))


def _target(study: StudyConfig, best: Trial | None) -> list[BudgetUse]:
    target = study.budget.target
    if target is None:
        return []
    if best is None or best.fitness is None:
        return [BudgetUse(name="target", used=None, limit=target, fraction=None)]
    value = best.fitness[0] / study.objective.goals[0].contribution(1.0)
    reached = study.objective.reached(best.fitness, target)
    return [BudgetUse(name="target", used=value, limit=target, fraction=1.0 if reached else None)]
