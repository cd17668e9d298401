"""Checks what a study left on its machine: the bytes of its checkpoints, other files, its database, and its processes."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from soak.log_checker import Record

from broodline.errors import CheckpointError
from broodline.storage.checkpoints.local import LocalCheckpointStore
from broodline.storage.checkpoints.manifest import MANIFEST
from broodline.storage.sqlite.store import SqliteStore
from broodline.testing import check_invariants


def checkpoint_problems(records: Sequence[Record], log: Iterable[Record], files: LocalCheckpointStore) -> Iterable[str]:
    """The recorded checkpoints whose files are not, byte for byte, those that their attempts saved."""
    saved = {(entry["trial"], entry["attempt"]): entry["files"] for entry in log if entry["event"] == "saved"}
    for record in records:
        if record["checkpoint"] is None:
            continue
        path = Path(record["checkpoint"])
        try:
            found = digests_in(files.open(path.relative_to(files.root).as_posix()))
        except (CheckpointError, OSError, ValueError) as error:
            yield f"trial {record['number']}: {error}"
            continue
        meant = saved.get((record["number"], record["attempt"]), {})
        if different := sorted(name for name in found.keys() | meant.keys() if found.get(name) != meant.get(name)):
            yield f"trial {record['number']}: {path} differs from what attempt {record['attempt']} saved: {different}"


def digests_in(checkpoint: Path) -> dict[str, str]:
    """The digest of each file that a program saved, by its path in the checkpoint."""
    files = [path for path in checkpoint.rglob("*") if not path.is_dir() and path != checkpoint / MANIFEST]
    return {path.relative_to(checkpoint).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def disk_problems(records: Sequence[Record], files: LocalCheckpointStore) -> Iterable[str]:
    """The files of an idle study that no record names."""
    recorded = {Path(record["checkpoint"]).name for record in records if record["checkpoint"] is not None}
    present = {path.name for path in files.committed.iterdir()}
    if present != recorded:
        yield f"checkpoints that no record names: {sorted(present - recorded)}; that are missing: {sorted(recorded - present)}"
    if staged := [path.name for path in files.staging.iterdir()]:
        yield f"orphans in staging: {staged}"


def leftovers(sessions: Path, scratch: Path) -> Iterable[str]:
    """What killed workers left behind after the end: the files of their sessions, and scratch directories of their programs.

    Args:
        sessions: The directory of the session files.
        scratch: The directory of temporary files, which only the study's processes use.
    """
    if left := sorted(os.listdir(sessions)):
        yield f"session files of workers that have ended: {left}"
    if left := sorted(os.listdir(scratch)):
        yield f"scratch directories that nobody uses: {left}"


def process_problems(processes: Iterable[int]) -> Iterable[str]:
    """The processes that still run after the end."""
    for pid in processes:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended by now
        yield f"still running after the end of the study: {command}"


def database_problems(path: Path, study: str) -> Iterable[str]:
    """The invariants that the records break, and corruption of the database."""
    with closing(sqlite3.connect(path)) as database:
        (found,) = database.execute("PRAGMA integrity_check").fetchone()
    if found != "ok":
        yield f"{path}: {found}"
    with closing(SqliteStore(path, create=False)) as store:
        try:
            check_invariants(store, study)
        except AssertionError as error:
            yield str(error)
