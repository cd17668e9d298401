"""Ask and tell: one of Optuna's samplers suggests each configuration, which is then trained to the end.

Stateless, as all decisions are: at each suggestion an Optuna study is made in memory and told, from the records and in
their order, what has begun and what came of it. So the same records lead to the same suggestion, in any controller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from random import Random
from typing import ClassVar

from broodline.core.population import NewTrial, Population
from broodline.core.reproduction import child_of, initial_trial
from broodline.core.strategy import Strategy
from broodline.core.study import StudyConfig
from broodline.core.trial import Measurement, Trial, TrialState
from broodline.errors import UsageError

_NEEDED: Mapping[str, Sequence[str]] = {"gp": ("scipy", "torch"), "cmaes": ("cmaes",), "qmc": ("scipy",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggested(Strategy):
    """The sampler is asked when a member begins; every trial is the parent of its own child, with the same params.

    It is told the fitness with which each lineage ended, for one that failed the worst of all; a lineage that is still
    trained it knows as running.
    """

    independent_lineages: ClassVar[bool] = True
    slow: ClassVar[bool] = True

    def check(self, study: StudyConfig) -> None:
        sampler = _sampler_of(study)
        missing = [package for package in ("optuna", *_NEEDED.get(sampler, ())) if find_spec(package) is None]
        if missing:
            torch = " torch (which is large, so the extra leaves it out)" if "torch" in missing else ""
            raise UsageError(
                f"strategy optuna with sampler {sampler} needs what is not installed here: {', '.join(missing)}. "
                f"Install it: pip install 'broodline[optuna]'{torch}"
            )

    def sample_initial(self, study: StudyConfig, population: Population, member: int, rng: Random) -> NewTrial | None:
        from broodline.strategies.optuna_samplers import suggestion

        generation_0 = sorted(population.of_generation(0), key=lambda trial: trial.number)
        ends = [tip for tip in population.leaves() if _has_ended(study, tip)]
        params = suggestion(study, generation_0, list(zip(ends, _told(study, ends), strict=True)), _sampler_of(study), rng)
        return initial_trial(study, member=member, params=params)

    def decide(self, study: StudyConfig, population: Population, initiator: Trial, rng: Random) -> NewTrial | None:
        return child_of(study, initiator=initiator, parent=initiator, rng=rng, unchanged=True)


def _sampler_of(study: StudyConfig) -> str:
    return study.evolution.sampler or SAMPLERS[0]


def _has_ended(study: StudyConfig, tip: Trial) -> bool:
    """True if this trial, which has no child, will have none."""
    generations = study.budget.generations
    return not tip.can_be_parent or (generations is not None and tip.generation + 1 >= generations)


def _told(study: StudyConfig, ends: Sequence[Trial]) -> list[tuple[float, ...] | None]:
    """The fitness with which each lineage ended; of one without any the worst that there is, None if there is none."""
    own = [end.fitness or _last_fitness(study, end) for end in ends]
    known = [fitness for fitness in own if fitness is not None]
    worst = tuple(map(min, zip(*known, strict=True))) if known else None
    return [worst if fitness is None else fitness for fitness in own]


def _last_fitness(study: StudyConfig, end: Trial) -> tuple[float, ...] | None:
    """Of a trial that was stopped early: what it measured last may be a fitness, for it did learn something."""
    if end.state is not TrialState.STOPPED:
        return None
    return study.objective.fitness([Measurement(step=end.end, metrics=end.metrics or {})])


# Of Optuna, by the names under which `[evolution] sampler` knows them; the first is the default.
SAMPLERS = ("tpe", "gp", "cmaes", "qmc", "random")
