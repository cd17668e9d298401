"""Shows the log records of a run and of its workers as lines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from broodline.core.text import printable


class LogLines(logging.Handler):
    """A handler that shows each record as one line.

    Args:
        show: Shows a line.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(printable(self.format(record)))


@contextmanager
def log_shown_by(show: Callable[[str], None]) -> Iterator[None]:
    """Shows the records of all loggers of broodline, from INFO on or from the level that was set, while the context lasts.

    Args:
        show: Shows a line.
    """
    logger, handler = logging.getLogger("broodline"), LogLines(show)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(level or logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
