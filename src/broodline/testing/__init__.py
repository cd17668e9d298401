"""Tests for broodline and for packages that extend it. It needs pytest.

The tests of a new store, or of a new strategy, subclass a contract and so inherit the whole suite::

    class TestMyStore(StoreContract):
        def open_store(self, clock):
            return MyStore(clock=clock)

`Crew` plays the workers of a study in one process, and `check_invariants` checks every record that they left.
"""

from broodline.storage.checkpoints.base import checkpoint_of
from broodline.testing.crashing import Crash, CrashingStore, Moment
from broodline.testing.engines import EngineContract, StoppedWorkersContract
from broodline.testing.invariants import check_invariants
from broodline.testing.playing import Crew, FakeClock, Train, study_from_tables
from broodline.testing.stores import StoreContract
from broodline.testing.strategies import (
    AnyPopulationContract,
    IndependentLineagesContract,
    MixedLineagesContract,
    RestrictedPopulationContract,
    StrategyContract,
)
from broodline.testing.trainers import TrainerContract

__all__ = [
    "AnyPopulationContract",
    "Crash",
    "CrashingStore",
    "Crew",
    "EngineContract",
    "FakeClock",
    "IndependentLineagesContract",
    "MixedLineagesContract",
    "Moment",
    "RestrictedPopulationContract",
    "StoppedWorkersContract",
    "StoreContract",
    "StrategyContract",
    "Train",
    "TrainerContract",
    "check_invariants",
    "checkpoint_of",
    "study_from_tables",
]
