"""Optuna's samplers, fed from the records of a study. The only module that imports Optuna."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from broodline.core.json_values import same
from broodline.core.objective import Fitness
from broodline.core.parameters import Choice, Float, Int, Ordered, Param
from broodline.core.study import StudyConfig
from broodline.core.trial import Trial

_EXTREME = 1e100  # samplers compute variances of the values, which must be finite
_STATEFUL = ("cmaes", "qmc")  # their next suggestion also depends on their earlier suggestions


def suggestion(
    study: StudyConfig, started: Sequence[Trial], ends: Sequence[tuple[Trial, Fitness | None]], sampler: str, rng: Random
) -> dict[str, Any]:
    """The params that a sampler suggests for the next configuration.

    Args:
        study: The study and its space.
        started: The trials of generation 0, by number.
        ends: The last trial of each lineage that has ended, and its fitness.
        sampler: The name of the sampler.
        rng: The only source of randomness.
    """
    with _silenced():
        replaying = _ReplayingSampler(_sampler(sampler, study, rng), stateful=sampler in _STATEFUL)
        goals = 1 if study.objective.weighted else len(study.objective.goals)
        optuna_study = optuna.create_study(sampler=replaying, directions=["maximize"] * goals)
        waiting = sorted(ends, key=lambda end: (end[0].finished or 0.0, end[0].number))
        asked: dict[int, optuna.Trial] = {}
        for first in started:
            # Asks and results keep their recorded order: a stateful sampler depends on it.
            while waiting and (waiting[0][0].finished or 0.0) <= first.created and waiting[0][0].member in asked:
                _tell(optuna_study, asked, *waiting.pop(0))
            replaying.known = {name: _encoded(study.space.params[name], value) for name, value in first.params.items()}
            asked[first.member] = optuna_study.ask()
            _suggested(study, asked[first.member])
        for end in waiting:
            _tell(optuna_study, asked, *end)
        replaying.known = None
        return _suggested(study, optuna_study.ask())


class _ReplayingSampler(BaseSampler):
    """Repeats recorded suggestions while `known` is set, then asks a real sampler.

    Args:
        sampler: The real sampler.
        stateful: Ask it also where the suggestion is known, so that its state advances.
    """

    def __init__(self, sampler: BaseSampler, *, stateful: bool) -> None:
        self._sampler, self._stateful = sampler, stateful
        self.known: Mapping[str, Any] | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if self.known is not None and not self._stateful:
            return {}
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if self.known is not None and not self._stateful:
            return {}
        sampled = self._sampler.sample_relative(study, trial, search_space)
        return {} if self.known is not None else sampled

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if self.known is not None:
            return self.known[param_name]
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


def _sampler(name: str, study: StudyConfig, rng: Random) -> BaseSampler:
    seed = rng.getrandbits(31)
    match name:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        case "gp":
            return optuna.samplers.GPSampler(seed=seed)
        case "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "qmc":  # one low-discrepancy sequence for the whole study
            return optuna.samplers.QMCSampler(seed=study.seed, scramble=True, warn_independent_sampling=False)
        case _:
            return optuna.samplers.RandomSampler(seed=seed)


def _tell(optuna_study: optuna.Study, asked: Mapping[int, optuna.Trial], end: Trial, fitness: Fitness | None) -> None:
    if fitness is None:
        optuna_study.tell(asked[end.member], state=optuna.trial.TrialState.FAIL)
    else:
        optuna_study.tell(asked[end.member], [min(max(value, -_EXTREME), _EXTREME) for value in fitness])


def _suggested(study: StudyConfig, trial: optuna.Trial) -> dict[str, Any]:
    return study.space.suggested(lambda name, param: _decoded(param, _asked(trial, name, param)))


def _asked(trial: optuna.Trial, name: str, param: Param) -> Any:
    match param:
        case Float(scale="1-x"):
            return trial.suggest_float(name, 1 - param.high, 1 - param.low, log=True)
        case Float():
            return trial.suggest_float(name, param.low, param.high, log=param.log)
        case Int():
            return trial.suggest_int(name, param.low, param.high, log=param.log)
        case Ordered():
            return trial.suggest_int(name, 0, len(param.values) - 1)
        case Choice():
            return trial.suggest_categorical(name, range(len(param.values)))
        case _:
            raise AssertionError(f"{name} is fixed: no sampler suggests it")


def _decoded(param: Param, value: Any) -> Any:
    match param:
        case Float(scale="1-x"):
            return min(max(1 - value, param.low), param.high)
        case Ordered() | Choice():
            return param.values[value]
        case _:
            return value


def _encoded(param: Param, value: Any) -> Any:
    match param:
        case Float(scale="1-x"):
            return min(max(1 - value, 1 - param.high), 1 - param.low)
        case Ordered() | Choice():
            return next(index for index, known in enumerate(param.values) if same(known, value))
        case _:
            return value


@contextmanager
def _silenced() -> Iterator[None]:
    """Silences Optuna: its messages are about an in-memory study that lives for one suggestion."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
