"""Studies in virtual time: the real controller and store, with a simulated clock, simulated workers and programs."""

from broodline.simulation.faults import Faults
from broodline.simulation.simulation import Simulation, simulate
from broodline.simulation.training import SimulatedTrial

__all__ = ["Faults", "SimulatedTrial", "Simulation", "simulate"]
