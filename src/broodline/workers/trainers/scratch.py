"""The small temporary directory through which a worker and the program of one trial exchange params and measurements.

It is named after the worker's session, so that it can be found when a killed worker left it behind.
"""

from __future__ import annotations

import shutil
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from broodline.workers.trainers.process_tree import kill_all_of


def scratch(session: str | None) -> TemporaryDirectory[str]:
    """A directory among the temporary files of this machine, while the context lasts."""
    return TemporaryDirectory(prefix=_prefix(session or "one"), ignore_cleanup_errors=True)


def clear_after(session: str) -> None:
    """Ends the programs of a worker that was killed, and removes their directories."""
    kill_all_of(session)
    for left in Path(gettempdir()).glob(f"{escape(_prefix(session))}*"):
        shutil.rmtree(left, ignore_errors=True)


def _prefix(session: str) -> str:
    return f"broodline-{session}-"
