"""Compares a new checkpoint with its parent's, at the cost of a few reads.

Sizes are compared first. Files of equal size are read up to their first difference, the largest first, so the comparison of
weights that were trained ends in their first bytes. Only copies are read to their end.

Many frameworks save ZIP archives (PyTorch, NumPy, Keras, Stable-Baselines3). An archive names the checksum of each of its
parts: two archives are compared by that list, since their bytes can differ in time stamps only. In a small JSON file the
integers, such as a step counter, are compared apart from the other numbers.
"""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from broodline.core.untrained import Likeness
from broodline.storage.checkpoints.manifest import MANIFEST

_CHUNK = 1 << 16
_STRUCTURE = ".pkl"  # in PyTorch's archives: names, shapes and counters; the tensors are parts of their own

_LONGEST_JSON = 1 << 20

Parts = Mapping[str, tuple[int, int]]


def likeness(parent: Path, saved: Path) -> Likeness | None:
    """How the files in `saved` resemble those in `parent`; None if their weights differ, or they can't be compared."""
    # A likeness is a hint: files that can't be compared, such as JSON nested beyond Python's recursion, must not end a worker.
    with suppress(OSError, RecursionError):
        before, after = _sizes(parent), _sizes(saved)
        largest = [name for name, size in after.items() if size == max(after.values())]
        if largest and all(name in before for name in largest):
            return _compared(parent, saved, before, after, largest)
    return None


def _compared(
    parent: Path, saved: Path, before: Mapping[str, int], after: Mapping[str, int], largest: list[str]
) -> Likeness | None:
    same_largest = all(_same_contents(parent / name, saved / name) for name in largest)
    others = (name for name in after if name not in largest)
    if same_largest and before.keys() == after.keys() and all(_same_contents(parent / name, saved / name) for name in others):
        return Likeness.SAME
    if same_largest or all(_same_largest_part(parent / name, saved / name) for name in largest):
        return Likeness.SAME_WEIGHTS
    return None


def _sizes(directory: Path) -> dict[str, int]:
    """The sizes of the regular files below a directory, by name; links and devices are not read."""
    paths = [path for path in directory.rglob("*") if path.name != MANIFEST]
    facts = {path.relative_to(directory).as_posix(): path.lstat() for path in paths}
    return {name: fact.st_size for name, fact in facts.items() if stat.S_ISREG(fact.st_mode)}


def _same_contents(one: Path, other: Path) -> bool:
    if one.stat().st_size == other.stat().st_size and _same_bytes(one, other):
        return True
    parts = _parts(one)
    return bool(parts) and parts == _parts(other)


def _same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while chunk := left.read(_CHUNK):
            if chunk != right.read(_CHUNK):
                return False
    return True


def _same_largest_part(one: Path, other: Path) -> bool:
    return _same_largest_in_archive(one, other) or _same_fractions(one, other)


def _same_fractions(one: Path, other: Path) -> bool:
    """True for two JSON files that have fractions, and differ in integers at most."""
    if max(one.stat().st_size, other.stat().st_size) > _LONGEST_JSON:
        return False
    try:
        before, after = (json.loads(path.read_bytes(), parse_int=lambda _: None) for path in (one, other))
    except (ValueError, RecursionError):
        return False
    return _has_fraction(after) and bool(before == after)


def _has_fraction(document: Any) -> bool:
    values = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    return isinstance(document, float) or any(_has_fraction(value) for value in values)


def _same_largest_in_archive(one: Path, other: Path) -> bool:
    before, after = ({k: v for k, v in _parts(path).items() if not k.endswith(_STRUCTURE)} for path in (one, other))
    size = max((size for size, _ in after.values()), default=0)
    return size > 0 and all(before.get(name) == part for name, part in after.items() if part[0] == size)


def _parts(path: Path) -> Parts:
    """The size and the checksum of each part of a ZIP archive; empty for any other file."""
    try:
        if not zipfile.is_zipfile(path):
            return {}
        with zipfile.ZipFile(path) as archive:
            return {part.filename: (part.file_size, part.CRC) for part in archive.infolist()}
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return {}
