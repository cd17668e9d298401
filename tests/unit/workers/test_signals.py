"""Signals that wait until a step is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from broodline.errors import Preempted
from broodline.workers.signals import handlers_deferred


@pytest.fixture
def received() -> Iterator[list[int]]:
    """The signals whose handler ran; that of SIGUSR1 raises."""
    numbers: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        numbers.append(number)
        if number == signal.SIGUSR1:
            raise Preempted

    before = {number: signal.signal(number, handle) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def deferred(*numbers: int, then: Callable[[], object] = lambda: None) -> None:
    """Raises signals in a block that defers their handlers."""
    with handlers_deferred():
        for number in numbers:
            signal.raise_signal(number)
        then()


def test_a_handler_runs_when_the_block_is_done_and_is_in_its_place_again(received: list[int]) -> None:
    seen: list[list[int]] = []
    with pytest.raises(Preempted):
        deferred(signal.SIGUSR1, then=lambda: seen.append(list(received)))
    assert (seen, received) == ([[]], [signal.SIGUSR1])
    with pytest.raises(Preempted):
        signal.raise_signal(signal.SIGUSR1)


def test_no_signal_is_lost_though_the_handler_of_another_raises(received: list[int]) -> None:
    with pytest.raises(Preempted):
        deferred(signal.SIGUSR1, signal.SIGUSR2)
    signal.pthread_sigmask(signal.SIG_BLOCK, [])  # runs the handlers that are due
    assert sorted(received) == [signal.SIGUSR1, signal.SIGUSR2]


def test_an_error_of_the_block_is_the_context_of_the_handlers(received: list[int]) -> None:
    def fail() -> None:
        raise ValueError("the step failed")

    with pytest.raises(Preempted) as raised:
        deferred(signal.SIGUSR1, then=fail)
    assert isinstance(raised.value.__context__, ValueError)
    assert received == [signal.SIGUSR1]


def test_a_thread_has_no_handlers_to_defer() -> None:
    errors: list[BaseException] = []

    def block() -> None:
        try:
            with handlers_deferred():
                pass
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert errors == []
