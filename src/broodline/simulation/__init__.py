"""Simulation of studies in virtual time: the controller and the store are real, the clock, workers and programs simulated."""

from broodline.simulation.faults import Faults
from broodline.simulation.simulation import Simulation, simulate
from broodline.simulation.training import SimulatedTrial

__all__ = ["Faults", "SimulatedTrial", "Simulation", "simulate"]
