"""Compares a new checkpoint with its parent's, at the cost of a few reads.

Sizes are compared first. Files of equal size are read up to their first difference, the largest first, so the comparison of
weights that were trained ends in their first bytes. Only copies are read to their end.

Many frameworks save ZIP archives (PyTorch, NumPy, Keras, Stable-Baselines3). An archive names the checksum of each of its
parts: two archives are compared by that list, since their bytes can differ in time stamps only. In a small JSON file the
integers, such as a step counter, are compared apart from the other numbers.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

from broodline.core.untrained import Likeness
from broodline.storage.checkpoints.manifest import MANIFEST
from broodline.storage.disk import walk

_CHUNK = 1 << 16
_STRUCTURE = ".pkl"  # in PyTorch's archives: names, shapes and counters; the tensors are parts of their own

_LONGEST_JSON = 1 << 20

Parts = Mapping[str, tuple[int, int]]


def likeness(parent: Path, saved: Path) -> Likeness | None:
    """How the files in `saved` resemble those in `parent`; None if their weights differ, or they can't be compared."""
    # A likeness is a hint: files that can't be compared, such as JSON nested beyond Python's recursion, must not end a worker.
    with suppress(OSError, RecursionError):
        before, after = _sizes(parent), _sizes(saved)
        longest = max(after.values(), default=0)
        largest = [name for name, size in after.items() if size == longest]
        if largest and all(name in before for name in largest):
            return _compared(parent, saved, before, after, largest)
    return None


def _compared(
    parent: Path, saved: Path, before: Mapping[str, int], after: Mapping[str, int], largest: list[str]
) -> Likeness | None:
    same_largest = True
    for name in largest:
        same, same_largest_part = _judged(parent / name, saved / name)
        if not same_largest_part:
            return None
        same_largest &= same
    others = (name for name in after if name not in largest)
    if same_largest and before.keys() == after.keys() and all(_judged(parent / name, saved / name)[0] for name in others):
        return Likeness.SAME
    return Likeness.SAME_WEIGHTS


def _judged(one: Path, other: Path) -> tuple[bool, bool]:
    """Whether two files have the same contents, and whether at least their largest parts are equal; opens each file once."""
    # Without buffers: they are larger than what is read of most files.
    with open(one, "rb", buffering=0) as before, open(other, "rb", buffering=0) as after:
        if _same_bytes(before, after):
            return True, True
        if parts := _parts(before):
            others = _parts(after)
            return parts == others, parts == others or _same_largest_part(parts, others)
        return False, _same_fractions(before, after)


def _sizes(directory: Path) -> dict[str, int]:
    """The sizes of the regular files below a directory, by name; links and devices are not read."""
    sizes = {}
    for here, entries in walk(directory, lambda _error: None):
        prefix = "" if here == directory else f"{here.relative_to(directory).as_posix()}/"
        for entry in entries:
            if entry.name != MANIFEST and entry.is_file(follow_symlinks=False):
                sizes[prefix + entry.name] = entry.stat(follow_symlinks=False).st_size
    return sizes


def _same_bytes(one: FileIO, other: FileIO) -> bool:
    if _size(one) != _size(other):
        return False
    while chunk := one.read(_CHUNK):
        if chunk != other.read(_CHUNK):
            return False
    return True


def _size(file: FileIO) -> int:
    return os.fstat(file.fileno()).st_size


def _same_fractions(one: FileIO, other: FileIO) -> bool:
    """True for two JSON files that have fractions, and differ in integers at most."""
    if max(_size(one), _size(other)) > _LONGEST_JSON:
        return False
    try:
        before, after = (_without_integers(file) for file in (one, other))
    except (ValueError, RecursionError):
        return False
    return _has_fraction(after) and bool(before == after)


def _without_integers(file: FileIO) -> Any:
    file.seek(0)
    return json.loads(file.read(), parse_int=lambda _: None)


def _has_fraction(document: Any) -> bool:
    values = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    return isinstance(document, float) or any(_has_fraction(value) for value in values)


def _same_largest_part(one: Parts, other: Parts) -> bool:
    before, after = ({k: v for k, v in parts.items() if not k.endswith(_STRUCTURE)} for parts in (one, other))
    size = max((size for size, _ in after.values()), default=0)
    return size > 0 and all(before.get(name) == part for name, part in after.items() if part[0] == size)


def _parts(file: FileIO) -> Parts:
    """The size and the checksum of each part of a ZIP archive; empty for any other file."""
    try:
        if not zipfile.is_zipfile(file):
            return {}
        with zipfile.ZipFile(file) as archive:
            return {part.filename: (part.file_size, part.CRC) for part in archive.infolist()}
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return {}
