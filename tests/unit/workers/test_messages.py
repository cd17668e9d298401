"""Messages of worker processes among whatever else they print, and log records that travel as such."""

from __future__ import annotations

import logging
import os

import pytest

from broodline.workers.engines.messages import Channel, Event, ForwardedRecords, Message, decoded, encoded
from broodline.workers.log import WorkerLog, as_fields, log_again


def lines(data: bytes) -> list[str]:
    return data.decode().splitlines()


def test_a_message_is_found_after_a_line_that_lacks_its_end() -> None:
    printed = lines(b"epoch 1" + encoded(Event.READY) + b"epoch 2")
    assert [decoded(line) for line in printed] == [None, Message(Event.READY, {}), None]


def test_a_message_of_many_lines_is_one_line() -> None:
    (_, line) = lines(encoded(Event.CANNOT_WORK, problem="no\ndriver ä"))
    assert decoded(line) == Message(Event.CANNOT_WORK, {"problem": "no\ndriver ä"})


@pytest.mark.parametrize("line", ["", "broodline-worker: ", "broodline-worker: []", 'broodline-worker: {"event": "nonsense"}'])
def test_a_line_that_only_looks_like_a_message_is_none(line: str) -> None:
    assert decoded(line) is None


def test_a_channel_outlives_the_standard_output_that_it_copies(capfd: pytest.CaptureFixture[str]) -> None:
    channel, saved = Channel(), os.dup(1)
    try:
        os.close(1)
        channel.send(Event.AT_WORK)
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    assert [decoded(line) for line in capfd.readouterr().out.splitlines()] == [None, Message(Event.AT_WORK, {})]


def test_a_record_is_logged_again_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "broodline")
    log = WorkerLog(logging.getLogger("broodline.test"), study="digits", worker="50%")
    log.warning("the disk is full", extra={"trial": 3})
    (record,) = caplog.records
    caplog.clear()
    log_again(as_fields(record))
    (again,) = caplog.records
    for each in (record, again):
        assert each.getMessage() == "worker 50%: the disk is full"
        assert (each.name, each.levelno) == ("broodline.test", logging.WARNING)
        assert (each.__dict__["study"], each.__dict__["trial"], each.__dict__["worker"]) == ("digits", 3, "50%")
    assert again.created == record.created


def test_a_record_below_the_level_of_its_logger_is_not_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "broodline")
    log_again(
        {
            "logger": "broodline.test",
            "level": logging.WARNING,
            "created": 0.0,
            "message": "m",
            **dict.fromkeys(("study", "trial", "worker")),
        }
    )
    assert caplog.records == []


def test_a_forwarded_record_holds_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.Logger("broodline.test")  # one of its own: no other handler gets the record
    logger.addHandler(ForwardedRecords(Channel()))
    try:
        raise ValueError("kaboom")
    except ValueError:
        logger.exception("failed")
    (message,) = filter(None, map(decoded, capfd.readouterr().out.splitlines()))
    assert message.event is Event.LOG
    assert message.fields["message"].startswith("failed\nTraceback")
    assert message.fields["message"].endswith("ValueError: kaboom")


def test_broodline_is_quiet_unless_a_program_adds_a_handler() -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("broodline").handlers)
