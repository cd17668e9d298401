"""Calls that are made again while the store is unavailable, and only then."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import count
from math import inf

import pytest

from broodline.errors import LeaseLost, StoreError, StoreFailing, StoreFull, StoreUnavailable
from broodline.workers import retrying
from broodline.workers.log import WorkerLog
from broodline.workers.retrying import until_answered

LOG = WorkerLog(logging.getLogger("broodline.test"), study="digits", worker="0")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.001)


def answers_after(failures: float, error: Exception) -> Callable[[], str]:
    calls = count()

    def call() -> str:
        if next(calls) < failures:
            raise error
        return "answer"

    return call


def test_a_call_is_made_until_the_store_answers_and_each_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "broodline")
    assert until_answered(answers_after(3, StoreUnavailable("locked")), LOG) == "answer"
    assert caplog.messages == [
        "worker 0: the store does not answer (locked); waiting",
        "worker 0: the store answers again",
    ]


@pytest.mark.parametrize("error", [StoreError("no such table"), LeaseLost("superseded"), ValueError("a mistake")])
def test_another_error_is_raised_at_once(error: Exception) -> None:
    call = answers_after(1, error)
    with pytest.raises(type(error)):
        until_answered(call, LOG)
    assert call() == "answer"


def test_errors_of_the_disk_are_waited_for_and_not_without_end() -> None:
    assert until_answered(answers_after(3, StoreFailing("disk I/O error")), LOG) == "answer"
    with pytest.raises(StoreError, match=r"disk I/O error: and that for 0\.01 s; repair or replace the disk"):
        until_answered(answers_after(inf, StoreFailing("disk I/O error")), LOG, patience=0.01)


def test_a_full_disk_and_a_lock_are_waited_for_however_long() -> None:
    for error in (StoreFull("full"), StoreUnavailable("locked")):
        assert until_answered(answers_after(5, error), LOG, patience=0.0) == "answer"
