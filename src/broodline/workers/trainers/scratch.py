"""The small temporary directory through which a worker and the program of one trial exchange params and measurements.

It is named after the worker's session, so that it can be found when a killed worker left it behind.
A program may leave anything in it: directories nested deeper than Python's recursion goes, or without write permission.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from broodline.storage.disk import delete
from broodline.workers.trainers.process_tree import kill_all_of


@contextmanager
def scratch(session: str | None) -> Iterator[str]:
    """A directory among the temporary files of this machine, while the context lasts."""
    folder = mkdtemp(prefix=_prefix(session or "one"))
    try:
        yield folder
    finally:
        delete(Path(folder))


def clear_after(session: str) -> None:
    """Ends the programs of a worker that was killed, and removes their directories."""
    kill_all_of(session)
    for left in Path(gettempdir()).glob(f"{escape(_prefix(session))}*"):
        delete(left)


def _prefix(session: str) -> str:
    return f"broodline-{session}-"
