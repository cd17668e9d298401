"""The messages of a worker process to its engine: lines of JSON among the other output of the process.

A launcher passes on the lines that a worker prints; the supervision reads the messages among them and logs the rest.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock
from typing import Any

from broodline.workers.log import as_fields

_MARK = "broodline-worker: "


class Event(StrEnum):
    """A message's kind."""

    READY = "ready"
    AT_WORK = "at work"
    CANNOT_WORK = "cannot work"
    FINISHED = "finished"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Args:
        event: Its kind.
        fields: A log record for LOG, the `problem` for CANNOT_WORK, `done` for FINISHED (false if the worker was asked to leave),
            nothing for the others.
    """

    event: Event
    fields: Mapping[str, Any]


def encoded(event: Event, **fields: Any) -> bytes:
    r"""A message as bytes for a pipe.

    >>> encoded(Event.READY)
    b'\nbroodline-worker: {"event": "ready"}\n'
    """
    # It begins with an end of line: the last line that a function printed may lack its own.
    return f"\n{_MARK}{json.dumps({'event': event, **fields})}\n".encode()


def decoded(line: str) -> Message | None:
    """The message in a line; None for a line that is something else.

    >>> decoded('broodline-worker: {"event": "cannot work", "problem": "no driver"}')
    Message(event=<Event.CANNOT_WORK: 'cannot work'>, fields={'problem': 'no driver'})
    >>> decoded("epoch 1")
    """
    if not line.startswith(_MARK):
        return None
    try:
        fields = json.loads(line.removeprefix(_MARK))
        return Message(Event(fields.pop("event")), fields)
    except (ValueError, KeyError, TypeError):  # a program that prints our mark is not a reason to fail
        return None


class Channel:
    """The worker process's end: a copy of its standard output, out of reach of a function that closes or redirects that."""

    def __init__(self) -> None:
        self._descriptor, self._lock = os.dup(1), Lock()

    def send(self, event: Event, **fields: Any) -> None:
        """Sends a message, whole."""
        data = encoded(event, **fields)
        with self._lock, suppress(BrokenPipeError):  # the engine is gone, and this process is about to end
            while data:
                data = data[os.write(self._descriptor, data) :]


class ForwardedRecords(logging.Handler):
    """A handler that sends log records to the engine.

    Args:
        channel: The way to it.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        self._channel.send(Event.LOG, **as_fields(record))
