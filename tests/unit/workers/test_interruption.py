"""When a worker that was asked to leave is interrupted."""

from __future__ import annotations

import pytest

from broodline.errors import Preempted
from broodline.workers.interruption import Interruption


def test_a_block_that_allows_it_is_interrupted() -> None:
    interruption = Interruption()
    with pytest.raises(Preempted), interruption.allowed():
        interruption.interrupt()
    assert interruption.requested


def test_outside_of_such_a_block_the_request_is_kept_until_the_next_one() -> None:
    interruption, entered = Interruption(), False
    interruption.interrupt()
    assert interruption.requested
    with pytest.raises(Preempted), interruption.allowed():
        entered = True
    assert not entered


def test_a_second_request_does_not_interrupt_what_follows_the_first() -> None:
    interruption = Interruption()
    with interruption.allowed():
        interruption.request()
        interruption.interrupt()
    assert interruption.requested
