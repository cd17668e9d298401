"""Population based training as a black-box service: it trains a population of models and tunes their hyperparameters.

The public names of this module are the Python API. Other public modules:

* `broodline.testing`: the contract tests of a strategy, a store and other plug-ins. Subclass a contract in a test file and get
  its whole suite. It also has a fake clock, simulated workers, and a check of all invariants of a study. It needs pytest.
* `broodline.integrations.torch`, `.optax`, `.keras`: a learned schedule in a training framework.
* `broodline.errors`: the tree of errors.

Example:
    >>> import broodline
    >>> study = broodline.Study(name="digits", space={"lr": broodline.Float(1e-5, 1.0, log=True)},
    ...                         objective={"accuracy": "maximize"}, trial_steps=200, population=20)  # doctest: +SKIP
    >>> study.run(train, workers=5, budget=broodline.Budget(time="30m")).best.params               # doctest: +SKIP
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broodline.config.schedule_file import load_schedule, save_schedule
    from broodline.core.parameters import Choice, Fixed, Float, Int, Ordered
    from broodline.core.schedule import Schedule
    from broodline.core.study import Budget, Evolution, Retention, Stopping
    from broodline.errors import BroodlineError, Stopped, TrialFailed
    from broodline.reports.result import Outcome, Result
    from broodline.simulation import Faults, SimulatedTrial, Simulation, simulate
    from broodline.studies.api import Study
    from broodline.workers.running_trial import RunningTrial
    from broodline.workers.trial_loop import trials

logging.getLogger("broodline").addHandler(logging.NullHandler())

# Each name is imported at its first use: a resident program that imports broodline loads no database library.
_HOMES = {
    "load_schedule": "config.schedule_file",
    "save_schedule": "config.schedule_file",
    "Choice": "core.parameters",
    "Fixed": "core.parameters",
    "Float": "core.parameters",
    "Int": "core.parameters",
    "Ordered": "core.parameters",
    "Schedule": "core.schedule",
    "Budget": "core.study",
    "Evolution": "core.study",
    "Retention": "core.study",
    "Stopping": "core.study",
    "BroodlineError": "errors",
    "Stopped": "errors",
    "TrialFailed": "errors",
    "Outcome": "reports.result",
    "Result": "reports.result",
    "Faults": "simulation",
    "SimulatedTrial": "simulation",
    "Simulation": "simulation",
    "simulate": "simulation",
    "Study": "studies.api",
    "RunningTrial": "workers.running_trial",
    "trials": "workers.trial_loop",
}

__version__ = "0.1.0"
__all__ = [
    "BroodlineError",
    "Budget",
    "Choice",
    "Evolution",
    "Faults",
    "Fixed",
    "Float",
    "Int",
    "Ordered",
    "Outcome",
    "Result",
    "Retention",
    "RunningTrial",
    "Schedule",
    "SimulatedTrial",
    "Simulation",
    "Stopped",
    "Stopping",
    "Study",
    "TrialFailed",
    "load_schedule",
    "save_schedule",
    "simulate",
    "trials",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'broodline' has no attribute '{name}'")
    return getattr(import_module(f"broodline.{_HOMES[name]}"), name)
