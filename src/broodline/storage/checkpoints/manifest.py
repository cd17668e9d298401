"""The manifest of a checkpoint: the files that belong to it, their sizes and, on request, their checksums."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broodline.errors import CheckpointCorrupt, CheckpointError
from broodline.storage.disk import walk

MANIFEST = ".broodline.json"
_CHUNK = 1 << 20
# Other programs copy and delete checkpoints too, and many of them use recursion. The system takes paths of 4,095 bytes at most;
# the rest is left for the folders that a checkpoint may be copied to.
_DEEPEST = 200
_LONGEST_PATH = 4000


def contents(top: Path) -> tuple[list[Path], list[Path]]:
    """All files and links below a directory without the manifest, and all directories, the innermost first.

    Raises:
        CheckpointError: The directories are nested too deep, or a path is too long.
        OSError: A directory can't be read: a checkpoint that lacks its files must not be committed.
    """
    files, directories = [], []
    for here, entries in walk(top, _unless_missing):
        directories.append(here)
        if len(here.parts) - len(top.parts) > _DEEPEST:
            raise CheckpointError(f"no checkpoint: its directories are nested more than {_DEEPEST} deep")
        for entry in entries:
            _check_length(entry)
            if not entry.is_dir(follow_symlinks=False) and (here != top or entry.name != MANIFEST):
                files.append(here / entry.name)
    return files, directories[::-1]


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _check_length(entry: os.DirEntry[str]) -> None:
    if len(entry.path) > _LONGEST_PATH // 4 and (size := len(os.fsencode(entry.path))) > _LONGEST_PATH:
        raise CheckpointError(
            f"no checkpoint: a path in it has {size:,} bytes, more than {_LONGEST_PATH:,}: it ends with {entry.path[-40:]!r}"
        )


def check_kind(path: Path, top: Path) -> None:
    """Refuses a file of a checkpoint that would be different, or missing, when it is read again.

    Args:
        path: The file or link.
        top: The directory of the checkpoint.

    Raises:
        CheckpointError: It is a link that leads out of the directory, or neither a file nor a directory.
    """
    if path.is_symlink():
        target = os.readlink(path)
        if os.path.isabs(target) or _climbs(path, top) or not _resolves_inside(path, top):
            raise CheckpointError(f"no checkpoint: {path.name} is a link to {target}, which would not be kept: save a copy")
    elif not path.is_file():
        raise CheckpointError(f"no checkpoint: {path.name} is neither a file nor a directory")


def write_manifest(top: Path, files: Mapping[str, Path], *, checksums: bool) -> None:
    """Writes the manifest of the files, which are given by their names relative to the directory."""
    manifest: dict[str, object] = {"files": {name: path.lstat().st_size for name, path in files.items()}}
    if checksums:
        manifest["sha256"] = {name: _sha256(path) for name, path in files.items() if path.is_file()}
    # A checkpoint that was copied by hard links shares its parent's manifest file: writing into it would corrupt the parent.
    (top / MANIFEST).unlink(missing_ok=True)
    with (top / MANIFEST).open("x", encoding="utf-8") as file:
        file.write(json.dumps(manifest))  # in C, which `json.dump` is not


def verify(top: Path) -> None:
    """Compares the files in a directory with its manifest: their sizes, and their checksums if it has them.

    Raises:
        CheckpointCorrupt: A file, or the manifest, is missing or different.
        OSError: A file can't be read.
    """
    manifest = _read(top)
    try:
        for name, size in manifest["files"].items():
            if (top / name).lstat().st_size != size:
                raise CheckpointCorrupt(f"{top}: {name} has not the {size} bytes that were committed")
        for name, digest in manifest.get("sha256", {}).items():
            if _sha256(top / name) != digest:
                raise CheckpointCorrupt(f"{top}: {name} differs from the committed file (SHA-256)")
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointCorrupt(f"{top}: the checkpoint is corrupt: its manifest lacks {error}") from error


def _read(top: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((top / MANIFEST).read_bytes())
    except ValueError as error:
        raise CheckpointCorrupt(f"{top}: the checkpoint is corrupt: its manifest can't be parsed: {error}") from error
    if not isinstance(manifest, dict):
        raise CheckpointCorrupt(f"{top}: the checkpoint is corrupt: its manifest is not a JSON object")
    return manifest


def _climbs(link: Path, top: Path) -> bool:
    """True for a link that leaves the directory, even if it comes back: after the rename it would come back elsewhere."""
    ups = Path(os.path.normpath(os.readlink(link))).parts.count("..")
    return ups > len(link.parent.relative_to(top).parts)


def _resolves_inside(link: Path, top: Path) -> bool:
    try:
        target = link.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself
        return False
    # Python 3.13 raises no error for such a link, but returns it unresolved.
    return not target.is_symlink() and target.is_relative_to(top.resolve())


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
