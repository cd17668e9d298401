"""The files of one study: its checkpoints, and next to them its logs, the locks of its workers, and the lock of its run.

Only the checkpoints may lie in another place, in an object store for instance. Logs and locks are always local files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from broodline.core.trial import Trial
from broodline.errors import FilesMissing
from broodline.storage.checkpoints.base import CheckpointStore, attempt_name
from broodline.storage.root import identity_in

_LOG = re.compile(r"(\d+)\.(\d+)\.log")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFiles:
    """The files of one study. To open those of a study in a store, call `StudyLocation.open_study` or `StudyLocation.files`.

    Args:
        root: The study's directory on this machine.
        checkpoints: Its checkpoint store.
        identity: The identity that shows which store or study the files belong to; None: they belong to none.
        carrier: The directory that carries the identity; None: the directory around that of the study.
    """

    root: Path
    checkpoints: CheckpointStore
    identity: str | None = None
    carrier: Path | None = None

    @property
    def marked(self) -> Path:
        """The directory that carries the identity."""
        return self.carrier or self.root.parent

    @property
    def are_present(self) -> bool:
        """False while the directory of the files is away, or another one is in its place: it may not be mounted."""
        return self.identity is None or identity_in(self.marked) == self.identity

    def check_present(self) -> None:
        """Refuses to use a directory that does not carry the identity of the store or the study.

        Raises:
            FilesMissing: The directory is away, or another one is in its place.
        """
        if not self.are_present:
            raise FilesMissing(f"{self.marked}: the directory of the store's files is away, or another one is in its place")

    @property
    def logs(self) -> Path:
        """The directory of the logs, one file an attempt: `000012.1.log`."""
        return self.root / "logs"

    @property
    def workers(self) -> Path:
        """The directory of the session locks: each worker of this machine holds one file locked while it lives."""
        return self.root / "workers"

    @property
    def run_lock(self) -> Path:
        """The file that the process of `run` holds locked."""
        return self.root / "run.lock"

    @property
    def function(self) -> Path:
        """The file that holds the fingerprint of the Python function that trained last."""
        return self.root / "function"

    def prepare(self) -> None:
        """Makes the directories.

        Raises:
            OSError: They can't be created or written.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        self.checkpoints.prepare()

    def path(self, checkpoint: str) -> Path:
        """The directory of a committed checkpoint, as commands and results show it.

        Raises:
            CheckpointError: The name is not that of a checkpoint.
        """
        return self.checkpoints.path(checkpoint)

    def log(self, trial: Trial) -> Path:
        """The log of this attempt: the output of its program."""
        return self.logs / f"{attempt_name(trial)}.log"

    def logs_of_attempts(self) -> Iterator[tuple[int, Path]]:
        """All logs, each with the number of its trial."""
        return ((int(name[1]), path) for path in self.logs.glob("*.log") if (name := _LOG.fullmatch(path.name)))
