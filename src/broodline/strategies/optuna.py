"""Strategy `optuna`: one of Optuna's samplers suggests each configuration, which is then trained to the end.

Decisions are stateless, as everywhere. Each suggestion replays the records, in their order, into a new in-memory Optuna
study: which configurations have started, and the fitness that each reached. The same records therefore lead to the same
suggestion in every controller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from random import Random
from typing import ClassVar

from broodline.core.options import option
from broodline.core.population import NewTrial, Population
from broodline.core.reproduction import child_of, initial_trial
from broodline.core.strategy import Strategy, StudyProblem, missing_generations
from broodline.core.study import StudyConfig
from broodline.core.trial import Measurement, Trial, TrialState
from broodline.errors import UsageError

SAMPLERS = ("tpe", "gp", "cmaes", "qmc", "random")
_NEEDED: Mapping[str, Sequence[str]] = {"gp": ("scipy", "torch"), "cmaes": ("cmaes",), "qmc": ("scipy",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class OptunaSearch(Strategy):
    """Asks the sampler when a member starts. Each trial is the parent of its own child, with the same params.

    The sampler receives the final fitness of each finished lineage: the worst known fitness if the lineage failed. It sees a
    lineage in training as a running trial.
    """

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Options:
        """The search algorithm."""

        sampler: str = option("tpe", one_of=SAMPLERS, help="which of Optuna's samplers suggests the configurations")

    independent_lineages: ClassVar[bool] = True
    slow: ClassVar[bool] = True

    options: Options = field(default_factory=Options)

    def label(self, name: str) -> str:
        return f"{name} {self.options.sampler}"

    def problem(self, study: StudyConfig) -> StudyProblem | None:
        if problem := missing_generations(study):
            return problem
        if self.options.sampler == "cmaes" and len(study.objective.goals) > 1 and not study.objective.weighted:
            one_only = "cmaes is only for one objective: give each metric a weight, or use sampler tpe or gp"
            return StudyProblem(key="evolution.sampler", problem=one_only)
        return None

    def check(self, study: StudyConfig) -> None:
        sampler = self.options.sampler
        missing = [package for package in ("optuna", *_NEEDED.get(sampler, ())) if find_spec(package) is None]
        if missing:
            torch = " torch (which is large, so the extra leaves it out)" if "torch" in missing else ""
            raise UsageError(
                f"strategy optuna with sampler {sampler} needs packages that are not installed: {', '.join(missing)}\n"
                f"help: pip install 'broodline[optuna]'{torch}"
            )

    def sample_initial(self, study: StudyConfig, population: Population, member: int, rng: Random) -> NewTrial | None:
        from broodline.strategies.optuna_samplers import suggestion

        started = sorted(population.of_generation(0), key=lambda trial: trial.number)
        ends = [leaf for leaf in population.leaves() if _has_ended(study, leaf)]
        outcomes = list(zip(ends, _outcomes(study, ends), strict=True))
        params = suggestion(study, started, outcomes, self.options.sampler, rng)
        return initial_trial(study, member=member, params=params)

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        return child_of(study, initiator=initiator, parent=initiator, rng=rng)


def _has_ended(study: StudyConfig, leaf: Trial) -> bool:
    """True if this trial, which has no child, will have none."""
    generations = study.budget.generations
    return not leaf.can_be_parent or (generations is not None and leaf.generation + 1 >= generations)


def _outcomes(study: StudyConfig, ends: Sequence[Trial]) -> list[tuple[float, ...] | None]:
    """The fitness with which each lineage ended: the worst known one if it has none, None while none is known."""
    own = [end.fitness or _last_fitness(study, end) for end in ends]
    known = [fitness for fitness in own if fitness is not None]
    # A configuration that failed must not look promising: the sampler would try its neighbours next.
    worst = tuple(map(min, zip(*known, strict=True))) if known else None
    return [worst if fitness is None else fitness for fitness in own]


def _last_fitness(study: StudyConfig, end: Trial) -> tuple[float, ...] | None:
    """The fitness by the last measurement of a trial that was stopped early: it did train, so its score counts."""
    if end.state is not TrialState.STOPPED:
        return None
    return study.objective.fitness([Measurement(step=end.end, metrics=end.metrics or {})])
