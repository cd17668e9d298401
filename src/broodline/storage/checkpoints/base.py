"""The protocol of checkpoint stores, through which workers and commands read and write checkpoints.

A program saves into a local directory and restores from a local directory, whatever the store is. So `begin` returns a
directory to write to, and `open` returns one to read from. Between them a store commits in its own way: the local one
renames the directory, an object store uploads its files and writes a manifest last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from broodline.core.trial import Trial


def checkpoint_of(trial: Trial) -> str:
    """The name of the checkpoint that a trial's present attempt commits, the same in every store.

    It holds the attempt's number, so no superseded attempt can reach the checkpoint of its successor.
    """
    return checkpoint_of_attempt(trial.number, trial.attempt)


def checkpoint_of_attempt(number: int, attempt: int) -> str:
    """The name of the checkpoint that an attempt at a trial commits."""
    return f"checkpoints/{number:06d}.{attempt}"


def attempt_name(trial: Trial, attempt: int | None = None) -> str:
    """The name of an attempt at a trial, such as `000012.1`; by default of the present one."""
    return f"{trial.number:06d}.{trial.attempt if attempt is None else attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptDirectory:
    """A directory that an attempt staged or committed.

    Args:
        number: The number of its trial.
        attempt: The number of the attempt.
        checkpoint: The name under which the records name it, or would name it. Empty if another directory has that name,
            or if this directory is being removed.
        path: The directory.
    """

    number: int
    attempt: int
    checkpoint: str
    path: Path


class CheckpointStore(Protocol):
    """The checkpoints of one study.

    Every method can be repeated after a crash. An implementation keeps the promises of
    `broodline.testing.CheckpointStoreContract`.
    """

    def prepare(self) -> None:
        """Makes what the store needs before its first checkpoint.

        Raises:
            OSError: The place can't be created or written.
        """

    def begin(self, trial: Trial) -> Path:
        """Returns an empty local directory in which this attempt saves its checkpoint.

        It also deletes the directories of earlier attempts at the trial, which can no longer complete it.
        """

    def commit(self, trial: Trial) -> str:
        """Makes the files that an attempt saved its checkpoint: whole and durable, or not at all.

        Returns:
            The checkpoint's name, which is that of `checkpoint_of`.

        Raises:
            CheckpointError: The attempt saved nothing, or something that can't be kept.
            OSError: The store is full or broken; nothing is committed.
        """

    def discard(self, trial: Trial) -> None:
        """Deletes the files that an attempt saved and did not commit."""

    def discard_attempt(self, trial: Trial) -> None:
        """Deletes everything of a superseded attempt, its committed checkpoint too: no record will ever name it."""

    def path(self, checkpoint: str) -> Path:
        """The local directory of a committed checkpoint, unverified.

        Raises:
            CheckpointError: The name is not that of a checkpoint.
        """

    def open(self, checkpoint: str) -> Path:
        """Returns a local directory with the verified files of a committed checkpoint.

        Args:
            checkpoint: A name that `commit` returned. A store may complete the commit here that a power failure undid in part.

        Raises:
            CheckpointMissing: There is no such checkpoint.
            CheckpointCorrupt: Its files are not those that were committed.
            CheckpointUnavailable: It can't be read at the moment, whole or not.
        """

    def remove(self, checkpoint: str) -> None:
        """Deletes a committed checkpoint. It may return before all its bytes are freed; to remove it again is no error."""

    def size(self, checkpoint: str) -> int | None:
        """The bytes of a committed checkpoint; None if it is missing."""

    def attempts(self) -> Sequence[AttemptDirectory]:
        """The directories of all attempts, both staged and committed."""

    def remove_attempt(self, attempt: AttemptDirectory) -> None:
        """Deletes the directory of an attempt."""

    def finish_commit(self, attempt: AttemptDirectory) -> None:
        """Completes the commit of a recorded checkpoint that a power failure undid in part."""

    def unknown(self) -> Sequence[Path]:
        """The files among the checkpoints that broodline did not write."""

    def free_space(self) -> int:
        """The bytes that can still be written."""

    def close(self) -> None:
        """Waits for the deletions and flushes that are still in progress."""
