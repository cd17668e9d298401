"""Checkpoints on a local disk: staged for one attempt, flushed, committed by rename, verified before a program reads them.

The directory of a study::

    <root>/staging/000012.1/           the directory in which attempt 1 at trial 12 saves
    <root>/checkpoints/000012.1/       its committed checkpoint: whole, or not there
    <root>/staging/000012.1.removed/   a committed checkpoint that is being deleted

A rename works within one disk. Where `checkpoints` is a link to another disk, or a disk is mounted there, the staging directory
is `checkpoints/.staging` instead.

Theory of operation: the commit
-------------------------------

A checkpoint counts once it has its name in `checkpoints/`. A rename within a file system is atomic, so a reader finds the
whole directory there or none. The rename alone does not survive a power failure, after which a disk may hold the new name
and not the bytes. So `commit` works in this order:

1. Flush every file, write the manifest with the names and sizes, and flush the manifest and all directories.
2. Wait until the renames of earlier commits are durable. If step 1 made the disappearance of a staged name durable before
   the new name was, that earlier checkpoint would have neither name.
3. Rename the directory. From here on the checkpoint is committed for every process.
4. Flush `checkpoints/` in the background, while the worker trains its next trial.

A power failure during step 4 can undo the rename. The files are durable under the staged name by then, so `open` and
`finish_commit` repeat the rename, which the manifest shows to be complete.

Removal mirrors the commit: the first step is a rename out of `checkpoints/`, and the bytes are deleted afterwards. A crash
at any point leaves a whole checkpoint, or a directory in `staging/` that recovery deletes.

The name holds the attempt. A superseded attempt that still runs writes to its own directories and never to its successor's.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from broodline.core.trial import Trial
from broodline.errors import CheckpointCorrupt, CheckpointError, CheckpointMissing, CheckpointUnavailable, StoreError
from broodline.storage.checkpoints.base import AttemptDirectory, attempt_name
from broodline.storage.checkpoints.manifest import MANIFEST, check_kind, contents, verify, write_manifest
from broodline.storage.disk import delete, flush, make_writable, size_of

REMOVED = ".removed"
_STAGING_THERE = ".staging"
_NAME = re.compile(rf"(\d+)\.(\d+)(?:{re.escape(REMOVED)})?")
_THREADS = 8
# Errors that keep this process from reading at the moment, and prove nothing about the state of the files.
_UNAVAILABLE = {
    *(errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    *(errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN),
}


def open_url(url: str, *, checksums: bool = False) -> LocalCheckpointStore:
    """The checkpoint store of the scheme `file`: `file:///PATH` is the directory of a study.

    Raises:
        StoreError: The URL names another machine, or no absolute path.
    """
    parts = urlsplit(url)
    path = Path(unquote(parts.path, errors="surrogateescape"))
    if parts.netloc not in ("", "localhost") or not path.is_absolute():
        raise StoreError(f"'{url}' names no directory of this machine\nhelp: write file:///PATH")
    return LocalCheckpointStore(path, checksums=checksums)


class LocalCheckpointStore:
    """The checkpoints of a study in a directory of a local disk.

    Args:
        root: The study's directory.
        checksums: Write the SHA-256 of each file into the manifest.
    """

    def __init__(self, root: Path, *, checksums: bool = False) -> None:
        self.root, self._checksums = root.absolute(), checksums
        self.committed, self._staging = self.root / "checkpoints", self.root / "staging"
        self._committed, self._root = str(self.committed), str(self.root)  # for the looks at the disk, several a trial
        self._background = ThreadPoolExecutor(_THREADS, thread_name_prefix="checkpoints")
        self._renames: list[Future[None]] = []

    @property
    def staging(self) -> Path:
        """The staging directory, on the disk that holds the committed checkpoints."""
        with suppress(FileNotFoundError):
            if os.stat(self._committed).st_dev != os.stat(self._root).st_dev:
                return self.committed / _STAGING_THERE
        return self._staging

    def prepare(self) -> None:
        for directory in (self.committed, self._staging, self.staging):
            directory.mkdir(parents=True, exist_ok=True)
        # A durable file in a directory whose own name is not durable is lost with that name.
        for directory in (self.root, self.root.parent, self.root.parent.parent):
            with suppress(PermissionError):  # a directory without read permission can't be flushed
                flush(directory)

    def begin(self, trial: Trial) -> Path:
        # Without this the disk fills with the files of dead attempts for as long as a run lasts. This attempt's own name
        # can be taken as well: by a checkpoint whose record was lost in a crash, or replaced by an older database.
        staging = self.staging
        for attempt in range(trial.attempt + 1):
            self._discard_attempt(attempt_name(trial, attempt), staging)
        staged = staging / attempt_name(trial)
        staged.mkdir()
        return staged

    def commit(self, trial: Trial) -> str:
        staged, committed = self.staging / attempt_name(trial), self.committed / attempt_name(trial)
        if not committed.exists():  # else an earlier call has committed it
            files, directories = _files_to_keep(staged)
            make_writable(staged)  # for the manifest, and for the rename, which writes to a directory that moves
            self._flush(staged, files, directories)
            os.rename(staged, committed)
            self._renames = [self._background.submit(flush, self.committed)]
        return self._recorded(committed)

    def _flush(self, staged: Path, files: list[Path], directories: list[Path]) -> None:
        """Makes all files durable before the rename.

        The flushes run in parallel, since a disk completes many of them in the time of one. The checksums of the manifest
        are computed during that time.
        """
        flushing = [self._background.submit(flush, path) for path in files]
        relative = {path.relative_to(staged).as_posix(): path for path in files}
        write_manifest(staged, relative, checksums=self._checksums)
        wait(self._renames)  # before staging/ is flushed: step 2 of the theory above
        flushing += [self._background.submit(flush, path) for path in (staged / MANIFEST, *directories, staged.parent)]
        for each in flushing:
            each.result()

    def discard(self, trial: Trial) -> None:
        delete(self.staging / attempt_name(trial))

    def discard_attempt(self, trial: Trial) -> None:
        self._discard_attempt(attempt_name(trial), self.staging)

    def _discard_attempt(self, name: str, staging: Path) -> None:
        delete(staging / name)
        delete(self.committed / name)

    def path(self, checkpoint: str) -> Path:
        path = self.root / checkpoint
        if path.parent != self.committed or path.name in ("", ".", ".."):
            raise CheckpointError(f"'{checkpoint}' does not name a checkpoint in {self.committed}")
        return path

    def open(self, checkpoint: str) -> Path:
        path = self.path(checkpoint)
        try:
            if not path.exists():
                self._finish_rename(path)
                if not path.exists():
                    raise CheckpointMissing(f"{path}: the checkpoint is missing")
            verify(path)
        except OSError as error:
            if error.errno in _UNAVAILABLE:
                raise CheckpointUnavailable(f"{path}: the checkpoint can't be read: {error}") from error
            raise CheckpointCorrupt(f"{path}: the checkpoint is corrupt: {error}") from error
        return path

    def remove(self, checkpoint: str) -> None:
        committed = self.path(checkpoint)
        leaving = self.staging / (committed.name + REMOVED)
        with suppress(OSError):
            make_writable(committed)
            os.rename(committed, leaving)
        self._background.submit(delete, leaving)

    def size(self, checkpoint: str) -> int | None:
        path = self.path(checkpoint)
        return size_of(path) if path.is_dir() else None

    def attempts(self) -> list[AttemptDirectory]:
        return [
            AttemptDirectory(number=int(name[1]), attempt=int(name[2]), checkpoint=self._recorded_as(path), path=path)
            for path in self._all()
            if (name := _NAME.fullmatch(path.name))
        ]

    def remove_attempt(self, attempt: AttemptDirectory) -> None:
        delete(attempt.path)

    def finish_commit(self, attempt: AttemptDirectory) -> None:
        self._finish_rename(self.path(attempt.checkpoint))

    def unknown(self) -> list[Path]:
        return sorted(path for path in self._all() if not _NAME.fullmatch(path.name) and path.name != _STAGING_THERE)

    def free_space(self) -> int:
        return shutil.disk_usage(self.staging).free

    def close(self) -> None:
        self._background.shutdown(wait=True)

    def _all(self) -> list[Path]:
        directories = {self._staging: None, self.staging: None, self.committed: None}
        return [path for directory in directories for path in directory.glob("*")]

    def _recorded(self, committed: Path) -> str:
        return committed.relative_to(self.root).as_posix()

    def _recorded_as(self, path: Path) -> str:
        committed = self.committed / path.name
        taken = path != committed and committed.exists()
        return "" if taken or path.name.endswith(REMOVED) else self._recorded(committed)

    def _finish_rename(self, path: Path) -> None:
        staged = self.staging / path.name
        if not path.exists() and (staged / MANIFEST).exists():
            os.rename(staged, path)


def _files_to_keep(staged: Path) -> tuple[list[Path], list[Path]]:
    """The files and the directories of a staged checkpoint.

    Raises:
        CheckpointError: It has no file, or one that can't be kept.
    """
    if staged.is_symlink():
        raise CheckpointError("no checkpoint: the program put a link in the place of the directory that it was to save in")
    files, directories = contents(staged) if staged.is_dir() else ([], [])  # a file in its place saved nothing
    if not files:
        raise CheckpointError("no checkpoint: the program left nothing in the directory that it was to save in")
    for path in files:
        check_kind(path, staged)
    if not any(path.is_file() for path in files):
        raise CheckpointError("no checkpoint: the program left nothing but links, and no file that they lead to")
    return files, directories
