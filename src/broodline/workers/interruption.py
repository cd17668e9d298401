"""Whether a worker is to leave, and at which moments a signal may interrupt it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from broodline.errors import Preempted


@dataclass(kw_only=True)
class Interruption:
    """The request to leave that a signal handler or another thread makes of a worker.

    A signal handler runs between any two instructions of the main thread. Raised in the midst of a call of the client or of a
    commit, `Preempted` would leave it unknown whether the call was made. So it is raised only inside of `allowed`, which
    the worker enters to train and to wait; at all other times the request is kept until then.
    """

    _requested: bool = field(default=False, init=False)
    _allowed: bool = field(default=False, init=False)

    @property
    def requested(self) -> bool:
        """True once the worker was asked to leave."""
        return self._requested

    def request(self) -> None:
        """Makes the worker leave as soon as it asks; for another thread."""
        self._requested = True

    def interrupt(self) -> None:
        """Makes the worker leave now; for a signal handler of the thread that works.

        Raises:
            Preempted: The thread is inside of `allowed`.
        """
        repeated, self._requested = self._requested, True
        if self._allowed and not repeated:
            raise Preempted

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """A block that may be interrupted.

        Raises:
            Preempted: The worker was asked to leave.
        """
        self._allowed = True
        try:
            if self._requested:
                raise Preempted
            yield
        finally:
            self._allowed = False
