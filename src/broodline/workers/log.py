"""Log records of workers: loggers below `broodline`, with the study, the trial and the worker as fields of each record.

A library is quiet: without a handler nothing is shown. `broodline run` adds a handler that shows each record as a line;
any other program configures `logging` as it likes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any

FIELDS = ("study", "trial", "worker")


class WorkerLog(logging.LoggerAdapter[logging.Logger]):
    """A logger whose records carry the study and the worker; a call adds the trial by `extra={"trial": number}`.

    The worker's name is in the message too, so that a record is understood without its fields. Messages are given whole:
    a worker's name may hold a `%`, which `%`-formatting would trip over.

    Args:
        logger: The logger.
        study: The study's name.
        worker: The worker's name.
    """

    def __init__(self, logger: logging.Logger, *, study: str, worker: str) -> None:
        super().__init__(logger)
        self._fields = {"study": study, "worker": worker, "trial": None}

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        extra = {**self._fields, **(kwargs.get("extra") or {})}
        return f"worker {self._fields['worker']}: {msg}", {**kwargs, "extra": extra}


def as_fields(record: logging.LogRecord) -> dict[str, Any]:
    """A record as JSON values, for another process; a traceback becomes part of the message."""
    trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
    message = "\n".join(filter(None, (record.getMessage(), trace)))
    return {
        **{name: getattr(record, name, None) for name in FIELDS},
        "logger": record.name,
        "level": record.levelno,
        "created": record.created,
        "message": message,
    }


def log_again(fields: Mapping[str, Any]) -> None:
    """Logs a record of another process in this one, by the logger of the same name.

    Args:
        fields: The result of `as_fields`.
    """
    logger = logging.getLogger(fields["logger"])
    if not logger.isEnabledFor(fields["level"]):
        return
    record = logger.makeRecord(logger.name, fields["level"], "", 0, fields["message"], (), None)
    record.created = fields["created"]
    for name in FIELDS:
        setattr(record, name, fields[name])
    logger.handle(record)
