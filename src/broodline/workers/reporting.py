"""Reports the measurements of a running trial to the controller, in batches: `trial.report` must be cheap."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from broodline.controller.client import Client, Signal
from broodline.core.trial import Measurement, Trial
from broodline.errors import Preempted, Stopped, StoreUnavailable

REPORT_SECONDS = 1.0


@dataclass(kw_only=True)
class BatchedReports:
    """The measurements of one attempt, and how many of them the controller has.

    Args:
        client: The controller.
        study: The study's name.
        trial: The trial.
    """

    client: Client
    study: str
    trial: Trial
    _measurements: list[Measurement] = field(default_factory=list)
    _sent: int = 0
    _at: float = field(default_factory=time.monotonic)

    def add(self, measurement: Measurement) -> None:
        """Takes a measurement, and reports to the controller if that was not done within the last second.

        Raises:
            Stopped: The trial is stopped early.
            Preempted: The trial is to be given back.
            LeaseLost: Another attempt has the trial.
        """
        self._measurements.append(measurement)
        if time.monotonic() - self._at >= REPORT_SECONDS:
            self._send()

    def unsent(self) -> list[Measurement]:
        """The measurements that the controller does not have yet."""
        return self._measurements[self._sent :]

    def unsent_of(self, final: Sequence[Measurement]) -> list[Measurement]:
        """The same, of a trainer's final list, which begins with those that were reported."""
        return list(final[self._sent :])

    def restart(self) -> None:
        """Forgets all measurements, since the attempt is trained again: the controller gets all that follow."""
        self._measurements.clear()
        self._sent = 0

    def _send(self) -> None:
        self._at = time.monotonic()  # before the call: a store that does not answer is not asked at each report
        try:
            signal = self.client.report(self.study, self.trial.number, self.trial.attempt, self.unsent())
        except StoreUnavailable:
            return  # training continues; the next report carries these measurements too
        self._sent = len(self._measurements)
        if signal is Signal.STOP:
            raise Stopped(f"trial {self.trial.number} is stopped early: its score is below the stopping rule's")
        if signal is Signal.RELEASE:
            raise Preempted
