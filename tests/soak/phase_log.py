"""Notes of the soak's processes that outlive a `kill -9`: the phase of each worker, and a log.

The trainer imports this module at each start, so it imports little, and only from the standard library.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

DIRECTORY = "BROODLINE_SOAK"  # the environment variable with the directory of the notes
PHASES = ("asking", "restoring", "training", "saving", "committing", "completing", "deleting")
BETWEEN = "between"
NEWCOMER = "newcomer"  # a file: the worker that starts next takes it, and is killed during its first ask
CLEANER = "cleaner"  # a file: the process that next cleans up after a dead worker takes it, and is killed while it does
CLEANING = "cleaning up"

_CODES = {BETWEEN: 0, **{phase: code for code, phase in enumerate(PHASES, 1)}}
_NAMES = {code: phase for phase, code in _CODES.items()}
_SIZE = 16
_OWN, _OF_TRAINER, _DELETIONS, _ARMED, _MOMENT, _READY = range(6)
_PID = slice(8, 12)


class Marks:
    """A page of memory that a worker, its trainer and the fault injector share; it outlives them.

    A worker and its trainer each write their own byte, so neither waits for the other.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _SIZE)

    @classmethod
    def of(cls, pid: int) -> Self:
        """The marks of a worker process."""
        return cls(_page(pid))

    @classmethod
    def create(cls) -> Self:
        """New marks for this process, a worker; an earlier process with the same number keeps its page."""
        page = _page(os.getpid())
        (new := page.parent.with_name(f"page-{page.name}")).write_bytes(bytes(_SIZE))
        new.rename(page)
        return cls(page)

    @property
    def phase(self) -> str:
        """The phase of the worker: first a deletion in the background, then the phase of a running trainer, then its own."""
        if self._memory[_DELETIONS]:
            return "deleting"
        own = self.own
        return _NAMES[self._memory[_OF_TRAINER]] if own == "training" and self._memory[_OF_TRAINER] else own

    @property
    def own(self) -> str:
        """The phase of the worker's own thread; all phases of its trainer are "training"."""
        return _NAMES[self._memory[_OWN]]

    @own.setter
    def own(self, phase: str) -> None:
        self._memory[_OWN] = _CODES[phase]
        self._memory[_READY] = 1

    @property
    def ready(self) -> bool:
        """True once the worker works."""
        return bool(self._memory[_READY])

    @property
    def of_trainer(self) -> str:
        """The phase of the trainer."""
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

    def deleting(self, change: int) -> None:
        """Counts the deletions in progress."""
        self._memory[_DELETIONS] += change

    def arm(self, phase: str, moment: float) -> None:
        """Has the worker killed in its next phase of a name, after a fraction (0 to 1) of that phase's last duration."""
        self._memory[_MOMENT] = round(255 * moment)
        self._memory[_ARMED] = _CODES[phase]

    def disarm(self) -> bool:
        """Cancels `arm`; False if the worker has entered the phase."""
        armed, self._memory[_ARMED] = self._memory[_ARMED], 0
        return bool(armed)

    def hit(self, phase: str) -> float | None:
        """The fraction of a phase after which the worker, which enters it, must be killed; None if it must not."""
        if self._memory[_ARMED] != _CODES[phase]:
            return None
        self._memory[_ARMED] = 0
        return self._memory[_MOMENT] / 255


def _page(pid: int) -> Path:
    return Path(os.environ[DIRECTORY], "phases", str(pid))


def log(event: str, **facts: Any) -> None:
    """Appends a line to the log and flushes it to disk before it returns."""
    # Each entry starts a new line, so a line that a kill cut short corrupts no other.
    line = "\n" + json.dumps({"event": event, **facts}) + "\n"
    descriptor = os.open(Path(os.environ[DIRECTORY], "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def logged(directory: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of the log, in order."""
    for line in (directory / "log").read_text(encoding="utf-8").splitlines():
        try:
            entry: dict[str, Any] = json.loads(line)
        except ValueError:
            continue  # an empty line, or one that a kill cut short
        yield entry
