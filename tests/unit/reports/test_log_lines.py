"""Log records as lines of a terminal."""

from __future__ import annotations

import logging

from broodline.reports.terminal.log_lines import log_shown_by


def test_records_are_shown_as_lines_while_the_context_lasts() -> None:
    shown: list[str] = []
    logger = logging.getLogger("broodline.workers")
    with log_shown_by(shown.append):
        logger.info("worker %s: the store answers again", "0")
        logger.debug("not for people")
    logger.warning("too late")
    assert shown == ["worker 0: the store answers again"]
    assert logging.getLogger("broodline").level == logging.NOTSET
