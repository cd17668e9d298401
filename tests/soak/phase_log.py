"""What the processes of the soak write down, where no `kill -9` can reach it: the phase that each worker is in, and a log.

Used by the trainer too, so it imports nothing but the standard library, and little of that.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

DIRECTORY = "BROODLINE_SOAK"  # the variable that names where all of it is
PHASES = ("asking", "restoring", "training", "saving", "committing", "completing", "sweeping")
BETWEEN = "between"
NEWCOMER = "newcomer"  # a file: the worker that starts next takes it, and is killed while it asks for the first time

_CODES = {BETWEEN: 0, **{phase: code for code, phase in enumerate(PHASES, 1)}}
_NAMES = {code: phase for phase, code in _CODES.items()}
_SIZE = 16
_OWN, _OF_TRAINER, _REMOVALS, _AIM, _MOMENT, _READY = range(6)
_PID = slice(8, 12)


class Marks:
    """A page of memory that a worker, its trainer and who aims at them share; the page outlives them.

    A worker and its trainer write each its own byte, so none waits for another.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _SIZE)

    @classmethod
    def of(cls, pid: int) -> Self:
        """Those of a worker process."""
        return cls(_page(pid))

    @classmethod
    def create(cls) -> Self:
        """Those of this process, a worker; an earlier one that had its number keeps its own."""
        page = _page(os.getpid())
        (new := page.parent.with_name(f"page-{page.name}")).write_bytes(bytes(_SIZE))
        new.rename(page)
        return cls(page)

    @property
    def phase(self) -> str:
        """Where the worker is: a removal in the background counts first, and while its trainer runs, what that one does."""
        if self._memory[_REMOVALS]:
            return "sweeping"
        own = self.own
        return _NAMES[self._memory[_OF_TRAINER]] if own == "training" and self._memory[_OF_TRAINER] else own

    @property
    def own(self) -> str:
        """What the worker itself does; all of its trainer's phases are "training"."""
        return _NAMES[self._memory[_OWN]]

    @own.setter
    def own(self, phase: str) -> None:
        self._memory[_OWN] = _CODES[phase]
        self._memory[_READY] = 1

    @property
    def ready(self) -> bool:
        """Whether the worker has begun to work."""
        return bool(self._memory[_READY])

    @property
    def of_trainer(self) -> str:
        """What the trainer does."""
        return _NAMES[self._memory[_OF_TRAINER]]

    @of_trainer.setter
    def of_trainer(self, phase: str) -> None:
        self._memory[_OF_TRAINER] = _CODES[phase]

    @property
    def trainer(self) -> int:
        """The process number of the trainer."""
        return int.from_bytes(self._memory[_PID], "little")

    @trainer.setter
    def trainer(self, pid: int) -> None:
        self._memory[_PID] = pid.to_bytes(4, "little")

    def removing(self, change: int) -> None:
        """Counts the removals that are going on."""
        self._memory[_REMOVALS] += change

    def aim(self, phase: str, moment: float) -> None:
        """Lets the worker be killed when it is in a phase next, after so much (0 to 1) of the time that this took it before."""
        self._memory[_MOMENT] = round(255 * moment)
        self._memory[_AIM] = _CODES[phase]

    def let_go(self) -> bool:
        """Takes the aim off a worker; False if the worker came to the phase."""
        aimed, self._memory[_AIM] = self._memory[_AIM], 0
        return bool(aimed)

    def hit(self, phase: str) -> float | None:
        """The moment at which the worker, which enters a phase, is to be killed."""
        if self._memory[_AIM] != _CODES[phase]:
            return None
        self._memory[_AIM] = 0
        return self._memory[_MOMENT] / 255


def _page(pid: int) -> Path:
    return Path(os.environ[DIRECTORY], "phases", str(pid))


def log(what: str, **facts: Any) -> None:
    """Appends a line to the log and flushes it: once this has returned, the line is there for good."""
    # A line that a kill tore apart spoils no other, because each brings its own beginning.
    line = "\n" + json.dumps({"what": what, **facts}) + "\n"
    descriptor = os.open(Path(os.environ[DIRECTORY], "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def logged(directory: Path) -> Iterator[dict[str, Any]]:
    """All whole lines of the log, in the order in which they were written."""
    for line in (directory / "log").read_text(encoding="utf-8").splitlines():
        try:
            entry: dict[str, Any] = json.loads(line)
        except ValueError:
            continue  # empty, or its writer was killed while it wrote
        yield entry
