"""What tests of broodline, and of what is added to it, are made of. It needs pytest.

Who writes a store, or a strategy, subclasses its contract in a test file of their own, and has the whole suite::

    class TestMyStore(StoreContract):
        def open_store(self, clock):
            return MyStore(clock=clock)

`Crew` plays the workers of a study in one process, and `check_invariants` looks at every row that they left.
"""

from broodline.testing.crashing import Crash, CrashingStore, Moment
from broodline.testing.engines import EngineContract, StoppedWorkersContract
from broodline.testing.invariants import check_invariants
from broodline.testing.playing import Crew, FakeClock, Train, checkpoint_of, study_from_tables
from broodline.testing.stores import StoreContract
from broodline.testing.strategies import StrategyContract
from broodline.testing.trainers import TrainerContract

__all__ = [
    "Crash",
    "CrashingStore",
    "Crew",
    "EngineContract",
    "FakeClock",
    "Moment",
    "StoppedWorkersContract",
    "StoreContract",
    "StrategyContract",
    "Train",
    "TrainerContract",
    "check_invariants",
    "checkpoint_of",
    "study_from_tables",
]
