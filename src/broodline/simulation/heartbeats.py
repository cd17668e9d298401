"""Computed heartbeats: the store learns which leases have expired without a transaction for each renewal.

Ten thousand workers that renew their leases three times in half a minute would cost more than their trials. The result of
these renewals can be computed: a lease expires one lease after the last heartbeat, and the time of that one is known.
So the store looks up expired trials by their sessions, not by the column that heartbeats write.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from heapq import heappop, heappush
from math import ceil, floor, inf
from typing import Any, cast

from broodline.controller.client import RENEWALS
from broodline.simulation.clock import EPOCH
from broodline.storage.base import Leases, Store, Transaction
from broodline.storage.wrapper import StoreWrapper


class Heartbeats:
    """The leases of all sessions, in virtual seconds.

    Args:
        lease: Seconds for which a session without heartbeats keeps its trial.
    """

    def __init__(self, lease: float) -> None:
        self.lease = lease
        self._every = lease / RENEWALS
        self._leased: dict[str, float] = {}
        self._dead: list[tuple[float, str]] = []
        self._doubtful: list[tuple[float, float, str, float]] = []
        self._silence = (inf, inf)

    @property
    def any_dead(self) -> bool:
        """True while a dead session holds a trial."""
        return bool(self._dead)

    def begin(self, session: str, now: float) -> None:
        """A session gets a trial, and renews its lease from now on."""
        self._leased[session] = now

    def end(self, session: str) -> None:
        """A session gives up its trial."""
        self._leased.pop(session, None)

    def cease(self, session: str, now: float) -> float | None:
        """A session dies; returns the time at which its lease expires, None without a trial."""
        leased = self._leased.pop(session, None)
        if leased is None:
            return None
        lapse = self._last_beat(leased, now) + self.lease
        # Nothing more can renew this lease, so its last moment is known now.
        heappush(self._dead, (lapse, session))
        return lapse

    def unheard(self, begin: float, end: float) -> None:
        """The store received no heartbeat in an outage that is over. Leases may expire until the next heartbeats arrive."""
        for session, leased in self._leased.items():
            lapse = self._last_beat(leased, begin) + self.lease
            # The first heartbeat after the outage saves a lease, if no call has looked before it.
            heard = self._last_beat(leased, end) + self._every
            if lapse < heard:
                self._doubtful.append((lapse, heard, session, leased))
        self._silence = (begin, end)

    def lapsed(self, now: float) -> list[str]:
        """The sessions whose lease has expired; a dead one is returned once."""
        sessions = []
        while self._dead and self._dead[0][0] < now:
            sessions.append(heappop(self._dead)[1])
        if self._doubtful:
            self._doubtful = [each for each in self._doubtful if now < each[1]]
            sessions += [
                session for lapse, _, session, leased in self._doubtful if lapse < now and self._leased.get(session) == leased
            ]
        return sessions

    def _last_beat(self, leased: float, now: float) -> float:
        beat = leased + floor(max(0.0, now - leased) / self._every) * self._every
        begin, end = self._silence
        if begin <= beat < end:
            beat = leased + max(0, ceil((begin - leased) / self._every) - 1) * self._every
        return beat


class BeatingStore(StoreWrapper):
    """A store in which computed heartbeats keep the leases.

    Args:
        store: The store with the studies.
        heartbeats: The computed heartbeats.
    """

    def __init__(self, store: Store, heartbeats: Heartbeats) -> None:
        super().__init__(store)
        self._heartbeats = heartbeats

    @contextmanager
    def transaction(self, study: str) -> Iterator[Transaction]:
        with self.wrapped.transaction(study) as transaction:
            yield cast(Transaction, _BeatingTransaction(transaction, self._heartbeats))


class _BeatingTransaction:
    def __init__(self, transaction: Transaction, heartbeats: Heartbeats) -> None:
        self._transaction, self._heartbeats = transaction, heartbeats

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)

    def leases(self, worker: str, until: float) -> Leases:
        sessions = self._heartbeats.lapsed(until - EPOCH)
        expired = self._transaction.running_in(sessions) if sessions else ()
        return replace(self._transaction.leases(worker, until), expired=expired)
