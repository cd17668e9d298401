"""Claims the directory of a store's files: finds it by the store's identity, and refuses every other directory.

Theory of operation. A claim runs before a worker asks, and before a file is deleted. It ends in one of these ways:

======================================================  ==================================================================
the database                                            the claim
======================================================  ==================================================================
and a directory next to it carry one identity           uses the directory
has an identity, and its directory is not there         makes the directory, or is refused if records name checkpoints
is of a version without identities                      adopts its former directory in place
is a copy of one that is still in its place             gives itself and its copied directory a new identity
shares a former directory with another database         is refused: the directory may belong to either
stands next to a directory of another store             is refused
======================================================  ==================================================================

Commands that only read use `root_for`, which refuses nothing.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from broodline.errors import FilesMissing, StoreError
from broodline.storage.root import IDENTITY_FILE, document_of, identity_in, is_vacant, mark, roots_of
from broodline.storage.sqlite.identity import Identity, change_identity, has_checkpoints, identity_of, same_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A directory that carries the identity of a store.

    Args:
        root: The directory.
        id: The identity.
        note: A line for the user; empty in the common case.
    """

    root: Path
    id: str
    note: str = ""


def root_for(path: Path, identity: Identity | None) -> Path:
    """The directory of the files of the database at a path: where it is, or where it would be."""
    return (_found(path, identity) if identity is not None else None) or roots_of(path)[0]


def check_new(path: Path) -> None:
    """Refuses to create a database where one was: its directory is still there.

    Raises:
        StoreError: A directory of that name carries an identity.
    """
    root = roots_of(path)[0]
    if not path.exists() and identity_in(root) is not None:
        raise StoreError(
            f"{path}: the database is gone, and the directory of its files {root.name} is still there\n"
            f"help: put the database back (from {path.name}.rescued, if there is one), or delete the directory to begin again"
        )


def claim(path: Path) -> Claim:
    """Claims the directory of the files of the database at a path, which exists.

    Raises:
        FilesMissing: The records name checkpoints, and their directory is not there.
        StoreError: The directory belongs to another store, or may, or can't be written.
    """
    path = path.resolve()
    try:
        return _claim(path)
    except OSError as error:
        place = error.filename or roots_of(path)[0]
        raise StoreError(
            f"{place}: can't be written: {error.strerror}\nhelp: choose another store with --store sqlite:///PATH"
        ) from error


def _claim(path: Path) -> Claim:
    identity = identity_of(path)
    if identity is None:
        raise StoreError(f"{path}: the identity of the database can't be read")
    original = _original_of(path, identity)
    if original is not None:
        return _claim_copy(path, identity, original)
    root = _found(path, identity) or _made_for(path, identity)
    return Claim(root=root, id=_settled(path, root, identity).id)


def _original_of(path: Path, identity: Identity) -> Path | None:
    """The database that the one at a path is a copy of; None if that one has moved, or never was another."""
    place = None if identity.place is None else Path(identity.place)
    if place is None or place == path or same_file(place, path):
        return None
    there = identity_of(place)
    return place if there is not None and there.id == identity.id else None


def _claim_copy(path: Path, identity: Identity, original: Path) -> Claim:
    """Makes a copy, and the directory that was copied with it, another store."""
    root, theirs = _found(path, identity), _found(original, identity)
    if root is not None and theirs is not None and same_file(root, theirs):
        root = None  # a link to the original's directory, or a copy of the database alone in the same place
    if root is None and has_checkpoints(path):
        raise FilesMissing(
            f"{path}: is a copy of {original}, without a copy of its files\n"
            f"help: copy {theirs or roots_of(original)[0]} to {roots_of(path)[0]}"
        )
    forked = change_identity(path, lambda was: _forked(was, path, root) if was == identity else was)
    root = root or _made_for(path, forked)
    note = f"{path} is a copy of {original}; from now on it is a study of its own"
    return Claim(root=root, id=_settled(path, root, forked).id, note=note)


def _forked(identity: Identity, path: Path, root: Path | None) -> Identity:
    """The identity of a copy. Only a directory that was copied with it may still carry the former one."""
    adopts, files = (None, None) if root is None else (identity.id, root.name)
    return Identity(id=uuid.uuid4().hex, adopts=adopts, place=str(path), files=files)


def _found(path: Path, identity: Identity) -> Path | None:
    """The directory that carries the identity of a database, or that the database may adopt."""
    noted = () if identity.files is None else (path.with_name(identity.files),)
    found = _carrying((*noted, *roots_of(path)), identity)
    if found is None and identity.may_adopt:
        found = next((root for root in roots_of(path) if identity_in(root) is None and not is_vacant(root)), None)
    return found


def _carrying(roots: tuple[Path, ...], identity: Identity) -> Path | None:
    return next((root for root in roots if identity.owns(identity_in(root))), None)


def _made_for(path: Path, identity: Identity) -> Path:
    """The directory to make for a database whose files are nowhere, after a check that none are missed."""
    root = roots_of(path)[0]
    if (other := identity_in(root)) is not None:
        raise StoreError(
            f"{root}: belongs to another store than {path.name} (identity {other})\n"
            "help: move the directory next to its own database, delete it if that database is gone, or choose another --store"
        )
    if has_checkpoints(path):
        raise FilesMissing(_missing(path, root, identity))
    if not is_vacant(root):
        raise StoreError(
            f"{root}: holds files, and does not show that they belong to {path.name}\n"
            "help: move the directory away, or choose another --store"
        )
    return root


def _missing(path: Path, root: Path, identity: Identity) -> str:
    if not is_vacant(root):
        return (
            f"{root}: the file {IDENTITY_FILE}, which shows that the directory belongs to {path.name}, is missing\n"
            f"help: if it is the right directory, write {document_of(identity.id)} into {root / IDENTITY_FILE}"
        )
    place = None if identity.place is None else Path(identity.place)
    moved = f", or move {roots_of(place)[0]} there" if place is not None and place != path else ""
    return (
        f"{root}: the directory with the checkpoints of {path.name} is not there; nothing was changed\n"
        f"help: mount or restore it{moved}; `broodline gc --forget-missing` gives the checkpoints up"
    )


def _settled(path: Path, root: Path, identity: Identity) -> Identity:
    """Writes the identity into the directory, then notes in the database that both agree."""
    if identity.may_adopt and identity_in(root) is None and not is_vacant(root):
        _check_undisputed(path, root)
    if identity_in(root) != identity.id:
        mark(root, identity.id)
    settled = replace(identity, adopts=None, place=str(path), files=root.name)
    return identity if identity == settled else change_identity(path, lambda was: settled if was.id == identity.id else was)


def _check_undisputed(path: Path, root: Path) -> None:
    """Refuses a former directory that two databases may own: which one, only a person knows."""
    disputed = [other for other in sorted(path.parent.iterdir()) if other != path and _may_own(other, root)]
    if disputed:
        raise StoreError(
            f"{root}: may belong to {path.name} or to {disputed[0].name}: a former version used it for both\n"
            f"help: if it belongs to {path.name}, move {disputed[0].name} into another directory, and run again"
        )


def _may_own(other: Path, root: Path) -> bool:
    if root not in roots_of(other):
        return False
    identity = identity_of(other)
    return identity is not None and identity.may_adopt
