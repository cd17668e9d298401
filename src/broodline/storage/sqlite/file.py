"""The file of a SQLite store: checks before it is opened, and a way to read it where nothing can be written."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from broodline.errors import StoreError, StoreMissing

_MAGIC = b"SQLite format 3\x00"
_LOGGED = slice(18, 20)  # in the file's header: 2 if the database is in WAL mode, 1 if not
_NETWORK_FILE_SYSTEMS = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "lustre",
        "beegfs",
        "gpfs",
        "ceph",
        "glusterfs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "fuse.s3fs",
        "afs",
        "9p",
        "ocfs2",
        "gfs2",
    ]
)


def check_file(path: Path, create: bool) -> None:
    """Refuses a file that is not a store, and can't become one.

    Raises:
        StoreError: It is missing, unreadable, another kind of file, or on a network file system.
    """
    if not path.exists():
        if not create:
            remedy = "name the store of the study with --store, or run the study first: `broodline run`"
            raise StoreMissing(f"{path}: there is no such database\nhelp: {remedy}")
        if not path.parent.is_dir():
            raise StoreError(f"{path}: there is no directory {path.parent}\nhelp: make it, or name another place with --store")
    elif path.is_dir():
        raise StoreError(f"{path}: is a directory, not a database")
    elif not os.access(path, os.R_OK):
        raise StoreError(f"{path}: can't be read: permission denied")
    elif path.stat().st_size and not _starts_like_sqlite(path):
        raise StoreError(f"{path}: is not an SQLite database\nhelp: name another file with --store")
    if create and not can_be_written(path):
        raise StoreError(f"{path}: can't be written\nhelp: name a writable place with --store sqlite:///PATH")
    kind = file_system_of(path.parent)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise StoreError(
            f"{path}: SQLite is not safe on a network file system ({kind}): several machines would corrupt it\n"
            "help: put the store on a local disk with --store sqlite:///PATH"
        )


def can_be_written(path: Path) -> bool:
    """True if a file, and the log next to it, can be written."""
    return all(os.access(place, os.W_OK) for place in (path.parent, path) if place.exists())


def _starts_like_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def file_system_of(directory: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The type of the file system that holds a directory, such as `ext4` or `nfs4`; None if it is not known."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    place = directory.resolve()
    points = {Path(field[1].replace("\\040", " ")): field[2] for field in (line.split() for line in lines)}
    inside = [point for point in points if place.is_relative_to(point)]
    return points[max(inside, key=lambda point: len(point.parts))] if inside else None


def opened_for_writing(path: Path, seconds: float) -> sqlite3.Connection:
    """Opens a database that exists.

    SQLite would make an empty database in the place of one that was deleted while a study runs.

    Args:
        path: The database.
        seconds: SQLite waits so long for a lock.
    """
    url = f"file:{quote(str(path.absolute()))}?mode=rw"
    return sqlite3.connect(url, uri=True, timeout=seconds, check_same_thread=False)


def opened_for_reading(path: Path) -> sqlite3.Connection:
    """Opens a database where nothing can be written.

    SQLite can read it while another process has it open. Otherwise SQLite would have to create the log, and can't. The whole
    database is then in its one file, and a copy of that file in memory is equivalent.
    """
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, check_same_thread=False)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        return _copied(path)
    return connection


def _copied(path: Path) -> sqlite3.Connection:
    log = path.with_name(f"{path.name}-wal")
    before = path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    if (log.exists() and log.stat().st_size) or path.stat().st_mtime_ns != before:
        raise StoreError(
            f"{path}: can't be read, because its log {log.name} needs a writable directory\n"
            "help: copy both to a writable directory, and name the copy with --store sqlite:///PATH"
        )
    content[_LOGGED] = bytes(2 * [1])  # a database in memory has no log
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.deserialize(bytes(content))
    return connection
