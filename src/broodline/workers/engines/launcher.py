"""The plug-in point of an engine: a `Launcher` starts workers somewhere, and a `Handle` watches and ends one of them.

An engine for Ray, Dask, Slurm or Kubernetes is one file with these two classes and an entry point in the group
`broodline.engines`. `EngineContract` in `broodline.testing` tests it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from broodline.controller.client import WorkerSession

# The exit status of a worker after an error of ours, not of a trial (EX_SOFTWARE): another worker would not fare better.
CANNOT_WORK = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The work of all workers of a study.

    Args:
        store: The store's URL. The folder of the study's checkpoints and logs follows from it, or is `files`. A URL may hold a
            password, so it belongs into no command line and no message.
        study: The study's name.
        trainer: A function that makes the trainer, pickled by cloudpickle (a function from `__main__` or a notebook travels
            by value). It takes `cwd`, the folder that programs run in.
        checksums: Whether checkpoints carry checksums.
        files: The directory of the files of the studies, for a store whose files lie in a directory that is given. Hosts that
            share the study mount it at this path.
    """

    store: str = field(repr=False)
    study: str
    trainer: bytes
    checksums: bool = False
    files: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """One worker that a launcher is to start.

    Args:
        index: Its place among the workers of the engine, counted from 0.
        identity: Its name and its session, which is another at each start.
        devices: The devices that it may use.
        variables: Environment variables that the worker sets for itself and its programs: they show only its devices.
    """

    index: int
    identity: WorkerSession
    devices: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


class Handle(Protocol):
    """A worker that was started."""

    def poll(self) -> int | None:
        """The exit status of a worker that has ended, below 0 the signal that killed it; None while it runs."""

    @property
    def is_stopped(self) -> bool:
        """True while the worker lives but does not run (SIGSTOP, a debugger); False where that is not known."""

    def lines(self) -> list[str]:
        """The complete lines that the worker printed since the last call, its messages among them. Does not wait."""

    def stop(self) -> None:
        """Asks the worker to give its trial back and to end. Does not wait."""

    def kill(self) -> None:
        """Ends the worker at once, and waits until it has ended."""

    def close(self) -> None:
        """Frees the handle of a worker that has ended, and ends the programs that it left behind."""


class Launcher(Protocol):
    """Starts workers. A class that is registered as an engine takes `job`, `cwd` (a folder) and `threads` (a number)."""

    def launch(self, spec: WorkerSpec) -> Handle:
        """Starts a worker; returns before that is ready.

        Raises:
            WorkerError: It can't be started.
        """

    def wait(self, seconds: float) -> None:
        """Waits so many seconds, or less if a worker printed something or ended."""

    def close(self) -> None:
        """Frees the resources of the launcher; all workers have ended."""


class LauncherType(Protocol):
    """A registered engine: makes the launcher of one study's workers."""

    def __call__(self, *, job: Job, cwd: Path, threads: int) -> Launcher:
        """Makes the launcher.

        Args:
            job: The work of its workers.
            cwd: The folder in which workers run, and their programs with them.
            threads: Threads for numeric libraries, each worker.
        """
