"""The test kit of broodline, for its own tests and for those of plug-ins. It needs pytest.

Each plug-in point has a contract: a class of tests. To test a new store, subclass the contract in a test file::

    class TestMyStore(StoreContract):
        def open_store(self, clock):
            return MyStore(clock=clock)

| plug-in | contracts |
|---|---|
| store | `StoreContract`, and `SharedStoreContract` for a store that several processes open |
| checkpoint store | `CheckpointStoreContract`, and `ChecksummedCheckpointsContract` if it can write checksums |
| client | `ClientContract` |
| strategy | `StrategyContract`, with the contracts of its capabilities, which `broodline.testing.strategies` lists |
| engine | `EngineContract`, and `StoppedWorkersContract` if it detects a stopped process |
| trainer | `TrainerContract` |

`Crew` plays the workers of a study in one process. `check_invariants` checks every row that they left.
"""

from broodline.storage.checkpoints.base import checkpoint_of
from broodline.testing.checkpoint_stores import CheckpointStoreContract, ChecksummedCheckpointsContract
from broodline.testing.clients import ClientContract
from broodline.testing.crashing import Crash, CrashingStore, Moment
from broodline.testing.engines import EngineContract, StoppedWorkersContract
from broodline.testing.invariants import check_invariants
from broodline.testing.playing import Crew, FakeClock, MetricsOf, study_from_tables
from broodline.testing.stores import SharedStoreContract, StoreContract
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
    "CheckpointStoreContract",
    "ChecksummedCheckpointsContract",
    "ClientContract",
    "Crash",
    "CrashingStore",
    "Crew",
    "EngineContract",
    "FakeClock",
    "IndependentLineagesContract",
    "MetricsOf",
    "MixedLineagesContract",
    "Moment",
    "RestrictedPopulationContract",
    "SharedStoreContract",
    "StoppedWorkersContract",
    "StoreContract",
    "StrategyContract",
    "TrainerContract",
    "check_invariants",
    "checkpoint_of",
    "study_from_tables",
]
