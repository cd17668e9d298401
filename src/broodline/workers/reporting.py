"""Reports the measurements of a running trial to the controller, in batches: `trial.report` must be cheap.

Theory of operation. Reports are numbered. The store may have saved a report whose answer was lost, so such a report is sent
again as it was, under its number, before any other call of the attempt. The controller saves it once. Measurements that were
made in the meantime go into the next report.
"""

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
    """The measurements of one attempt, and how many of them are in a report.

    Args:
        client: The controller.
        study: The study's name.
        trial: The trial.
    """

    client: Client
    study: str
    trial: Trial
    _measurements: list[Measurement] = field(default_factory=list)
    _sent: int = 0  # of them, in reports, an unanswered one included
    _unanswered: list[Measurement] | None = None  # the last report, if its answer did not come
    _index: int = 0  # of the last report
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
            self._report()

    def finish(self) -> None:
        """Sends a report again whose answer did not come. Every call that ends the attempt follows this one.

        Raises:
            StoreUnavailable: The answer did not come again; this call can be repeated.
            LeaseLost: Another attempt has the trial.
        """
        if self._unanswered is not None:
            self._send(self._unanswered)

    def unsent(self) -> list[Measurement]:
        """The measurements that are in no report."""
        return self._measurements[self._sent :]

    def unsent_of(self, final: Sequence[Measurement]) -> list[Measurement]:
        """The same, of a trainer's final list, which begins with those that were reported."""
        return list(final[self._sent :])

    def restart(self) -> None:
        """Forgets all measurements, since the attempt is trained again: the controller gets all that follow."""
        self._measurements.clear()
        self._sent = 0

    def _report(self) -> None:
        self._at = time.monotonic()  # before the call: a store that does not answer is not asked at each report
        try:
            signal = self._send(self._next() if self._unanswered is None else self._unanswered)
        except StoreUnavailable:
            return  # training continues, and this report is sent again
        if signal is Signal.STOP:
            raise Stopped(f"trial {self.trial.number} is stopped early: its score is below the stopping rule's")
        if signal is Signal.RELEASE:
            raise Preempted

    def _next(self) -> list[Measurement]:
        batch = self.unsent()
        self._index += 1
        self._sent, self._unanswered = len(self._measurements), batch
        return batch

    def _send(self, batch: Sequence[Measurement]) -> Signal:
        signal = self.client.report(self.study, self.trial.number, self.trial.attempt, batch, self._index)
        self._unanswered = None
        return signal
