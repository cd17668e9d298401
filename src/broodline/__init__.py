"""Population based training as a black-box service: it trains a population of models while it tunes their hyperparameters."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broodline.api import Study
    from broodline.errors import BroodlineError, Stopped, TrialFailed
    from broodline.loop import trials
    from broodline.model import Budget, Evolution, Retention, Stopping
    from broodline.results import Outcome, Result
    from broodline.running import RunningTrial
    from broodline.schedule import Schedule
    from broodline.schedulefile import load_schedule, save_schedule
    from broodline.simulation import Faults, SimulatedTrial, Simulation, simulate
    from broodline.space import Choice, Fixed, Float, Int, Ordered

# Names are loaded when they are used: a resident program that imports broodline needs no database.
_HOMES = {
    "Outcome": "results",
    "Result": "results",
    "Study": "api",
    "BroodlineError": "errors",
    "Stopped": "errors",
    "TrialFailed": "errors",
    "trials": "loop",
    "Budget": "model",
    "Evolution": "model",
    "Retention": "model",
    "Stopping": "model",
    "RunningTrial": "running",
    "Schedule": "schedule",
    "load_schedule": "schedulefile",
    "save_schedule": "schedulefile",
    "Faults": "simulation",
    "SimulatedTrial": "simulation",
    "Simulation": "simulation",
    "simulate": "simulation",
    "Choice": "space",
    "Fixed": "space",
    "Float": "space",
    "Int": "space",
    "Ordered": "space",
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
