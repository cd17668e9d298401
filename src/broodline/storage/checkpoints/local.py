"""Checkpoints on a local disk: staged for one attempt, flushed, committed by rename, verified before they are read.

A study's files::

    <study>/staging/000012.1/           what attempt 1 at trial 12 is writing
    <study>/checkpoints/000012.1/       what it committed: whole, or not there
    <study>/staging/000012.1.removed/   the same on its way out, since nothing needs it any more
    <study>/logs/000012.1.log           what its program printed

The name holds the attempt, so nothing that a superseded attempt still does can reach what another one committed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from broodline.core.trial import Trial
from broodline.errors import CheckpointError

_REMOVED = ".removed"
_NAME = re.compile(rf"(\d+)\.(\d+)(?:{re.escape(_REMOVED)})?")
_LOG = re.compile(r"(\d+)\.(\d+)\.log")
MANIFEST = ".broodline.json"
_CHUNK = 1 << 20
_THREADS = 8
# What keeps this process from reading now, and says nothing of what there is to read.
_IN_THE_WAY = {
    *(errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    *(errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptDirectory:
    """A directory that an attempt staged or committed.

    Args:
        number, attempt: Whose it is.
        checkpoint: The name under which it is, or would be, recorded; empty where another directory has that name, or
            where it was on its way out.
        path: Where it is.
    """

    number: int
    attempt: int
    checkpoint: str
    path: Path


class StudyFiles:
    """The directory of one study's checkpoints and logs.

    Args:
        root: The directory; made when it is first needed.
        checksums: Write the SHA-256 of each file into the manifest.
    """

    def __init__(self, root: Path, *, checksums: bool = False) -> None:
        self.root, self._checksums = root.absolute(), checksums
        self._background = ThreadPoolExecutor(_THREADS, thread_name_prefix="files")
        self._renames: list[Future[None]] = []
        self.staging, self.checkpoints, self.logs = (self.root / name for name in ("staging", "checkpoints", "logs"))
        self.workers = self.root / "workers"

    def prepare(self) -> None:
        """Makes the directories, durably: what will be flushed in them is lost if they are.

        Raises:
            OSError: They can't be made or written.
        """
        for directory in (self.staging, self.checkpoints, self.logs):
            directory.mkdir(parents=True, exist_ok=True)
        for directory in (self.root, self.root.parent, self.root.parent.parent):
            with suppress(PermissionError):  # one that may be entered and not listed can't be flushed either
                _flush(directory)

    def begin(self, trial: Trial) -> Path:
        """Returns an empty directory for this attempt to save its checkpoint in.

        What earlier attempts left, which can't complete the trial any more, is removed: else the disk would fill with what
        died, for as long as a run lasts. So is what lies under this attempt's own name: a checkpoint that the records have
        forgotten, since a crash came before they were written or older ones were put in their place.
        """
        for attempt in range(trial.attempt + 1):
            self.discard_attempt(trial.evolve(attempt=attempt))
        staged = self.staging / _name(trial)
        staged.mkdir()
        return staged

    def commit(self, trial: Trial) -> str:
        """Makes what an attempt has staged its checkpoint, whole and durable, by one rename.

        Before the rename everything is flushed, the staging directory's own name too. The rename itself is flushed while the
        caller goes on: should power fail before that is done, the checkpoint lies under its staged name, whole, and
        `verified` finishes the rename.

        Returns:
            The checkpoint's path, relative to the study's directory.

        Raises:
            CheckpointError: Nothing was saved, a link leads out of the directory, or something else is in its place.
            OSError: The disk is full or broken; nothing is committed.
        """
        staged, committed = self.staging / _name(trial), self.checkpoints / _name(trial)
        if committed.exists():  # told twice: the first rename went through
            return committed.relative_to(self.root).as_posix()
        if staged.is_symlink():
            raise CheckpointError("no checkpoint: the program put a link in the place of the directory that it was to save in")
        files, directories = _walk(staged)
        if not files:
            raise CheckpointError("no checkpoint: the program left nothing in the directory that it was to save in")
        for path in files:
            _check_kind(path, staged)
        # Side by side, because a disk makes many flushes durable in the time of one; the checksums are computed meanwhile.
        flushing = [self._background.submit(_flush, path) for path in files]
        self._write_manifest(staged, {path.relative_to(staged).as_posix(): path for path in files})
        # Were the names that are staged flushed before the last rename is, that checkpoint could be under neither name.
        wait(self._renames)
        flushing += [self._background.submit(_flush, path) for path in (staged / MANIFEST, *directories, self.staging)]
        for each in flushing:
            each.result()
        os.rename(staged, committed)
        self._renames = [self._background.submit(_flush, self.checkpoints)]
        return committed.relative_to(self.root).as_posix()

    def discard(self, trial: Trial) -> None:
        """Removes what an attempt has staged."""
        _remove(self.staging / _name(trial))

    def discard_attempt(self, trial: Trial) -> None:
        """Removes what a superseded attempt has staged or committed: no record will ever name it."""
        self.discard(trial)
        _remove(self.checkpoints / _name(trial))

    def path(self, checkpoint: str) -> Path:
        """The directory of a committed checkpoint.

        Raises:
            CheckpointError: The name leads somewhere else.
        """
        path = self.root / checkpoint
        if path.parent != self.checkpoints or path.name in ("", ".", ".."):
            raise CheckpointError(f"'{checkpoint}' does not name a checkpoint in {self.checkpoints}")
        return path

    def verified(self, checkpoint: str) -> Path:
        """The directory of a committed checkpoint, all files of its manifest there and of their sizes.

        Raises:
            CheckpointError: It is missing or damaged.
            OSError: It can't be read here and now, whole or not: for want of permission, open files, or the disk's server.
        """
        path = self.path(checkpoint)
        try:
            self._finish_rename(path)
            manifest = json.loads((path / MANIFEST).read_bytes())
            for name, size in manifest["files"].items():
                if (path / name).lstat().st_size != size:
                    raise CheckpointError(f"{path}: {name} has not the {size} bytes that were committed")
            for name, digest in manifest.get("sha256", {}).items():
                if _sha256(path / name) != digest:
                    raise CheckpointError(f"{path}: {name} is not what was committed (SHA-256)")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno in _IN_THE_WAY:
                raise
            raise CheckpointError(f"{path}: the checkpoint is damaged: {error}") from error
        return path

    def remove(self, checkpoint: str) -> None:
        """Removes a committed checkpoint that nothing needs any more: at once by name, its bytes while the caller goes on.

        So a committed checkpoint is whole also while it is removed, whenever that is interrupted.
        """
        committed = self.path(checkpoint)
        leaving = self.staging / (committed.name + _REMOVED)
        with suppress(OSError):
            os.rename(committed, leaving)
        self._background.submit(_remove, leaving)

    def attempts(self) -> list[AttemptDirectory]:
        """All directories of attempts that there are, staged and committed."""
        found = [path for directory in (self.staging, self.checkpoints) for path in directory.glob("*")]
        return [
            AttemptDirectory(number=int(name[1]), attempt=int(name[2]), checkpoint=self._recorded_as(path), path=path)
            for path in found
            if (name := _NAME.fullmatch(path.name))
        ]

    def _recorded_as(self, path: Path) -> str:
        committed = self.checkpoints / path.name
        taken = path != committed and committed.exists()
        return "" if taken or path.name.endswith(_REMOVED) else committed.relative_to(self.root).as_posix()

    def logs_of_attempts(self) -> Iterator[tuple[int, Path]]:
        """The logs that there are, each with the number of its trial."""
        return ((int(name[1]), path) for path in self.logs.glob("*.log") if (name := _LOG.fullmatch(path.name)))

    def unknown(self) -> list[Path]:
        """What lies among the directories of attempts, and was not put there by broodline."""
        found = (path for directory in (self.staging, self.checkpoints) for path in directory.glob("*"))
        return sorted(path for path in found if not _NAME.fullmatch(path.name))

    def remove_attempt(self, orphan: AttemptDirectory) -> None:
        """Removes the directory of an attempt."""
        _remove(orphan.path)

    def finish_rename(self, orphan: AttemptDirectory) -> None:
        """Gives a recorded checkpoint its place, if power failed before its rename was durable."""
        self._finish_rename(self.path(orphan.checkpoint))

    def log(self, trial: Trial) -> Path:
        """Where the output of this attempt goes."""
        return self.logs / f"{_name(trial)}.log"

    def _finish_rename(self, path: Path) -> None:
        staged = self.staging / path.name
        if not path.exists() and (staged / MANIFEST).exists():
            os.rename(staged, path)

    def _write_manifest(self, staged: Path, files: dict[str, Path]) -> None:
        manifest: dict[str, object] = {"files": {name: path.lstat().st_size for name, path in files.items()}}
        if self._checksums:
            manifest["sha256"] = {name: _sha256(path) for name, path in files.items() if path.is_file()}
        # A checkpoint that was copied by links holds the manifest of the parent: to write into it would damage that.
        (staged / MANIFEST).unlink(missing_ok=True)
        with (staged / MANIFEST).open("x", encoding="utf-8") as file:
            json.dump(manifest, file)


def size_of(path: Path) -> int:
    """The bytes of all files in a directory, or of one file; 0 where nothing is, or while it is being removed."""
    files = _walk(path)[0] if path.is_dir() else [path]
    return sum(_bytes_of(each) for each in files)


def _bytes_of(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_size
    return 0


def _remove(path: Path) -> None:
    """Removes what is to be a directory of an attempt; what can't be removed is left to the next sweep."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):  # its program put something else there
        with suppress(OSError):
            path.unlink()


def is_disk_full(error: BaseException | None) -> bool:
    """True if an error, or what caused it, says that a disk or a quota is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def _name(trial: Trial) -> str:
    return f"{trial.number:06d}.{trial.attempt}"


def _walk(top: Path) -> tuple[list[Path], list[Path]]:
    """All files and links below a directory, and all directories, the innermost first."""
    files, directories = [], []
    for directory, names, others in os.walk(top, topdown=False):
        here = Path(directory)
        directories.append(here)
        links = [name for name in names if (here / name).is_symlink()]
        files += [here / name for name in others + links if here != top or name != MANIFEST]
    return files, directories


def _check_kind(path: Path, staged: Path) -> None:
    """Refuses what would not be the same, or not there, when it is read again."""
    if path.is_symlink():
        target = os.readlink(path)
        if os.path.isabs(target) or _climbs(path, staged) or not _resolves_inside(path, staged):
            raise CheckpointError(f"no checkpoint: {path.name} is a link to {target}, which would not be kept: save a copy")
    elif not path.is_file():
        raise CheckpointError(f"no checkpoint: {path.name} is neither a file nor a directory")


def _climbs(link: Path, staged: Path) -> bool:
    """True for a link that leaves the directory, even if only to come back: after the rename it would come back elsewhere."""
    ups = Path(os.path.normpath(os.readlink(link))).parts.count("..")
    return ups > len(link.parent.relative_to(staged).parts)


def _resolves_inside(link: Path, staged: Path) -> bool:
    try:
        target = link.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself
        return False
    # Python 3.13 raises no error for such a link, but returns it unresolved.
    return not target.is_symlink() and target.is_relative_to(staged.resolve())


def _flush(path: Path) -> None:
    if path.is_symlink():
        return  # it is part of its directory, which is flushed
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
