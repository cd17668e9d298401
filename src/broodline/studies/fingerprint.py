"""Recognises whether the Python function of a study is the one that trained it last."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import CodeType
from typing import Any

from broodline.storage.study_files import StudyFiles


def has_changed(function: Any, files: StudyFiles) -> bool:
    """True if another function trained last; False if that is not known."""
    with suppress(OSError, ValueError):
        former = files.function.read_text(encoding="utf-8")
        return former.split()[:1] == _version() and former != _fingerprint(function)
    return False


def note(function: Any, files: StudyFiles) -> None:
    """Records that a function has trained."""
    with suppress(OSError):  # only a message depends on it
        files.function.write_text(_fingerprint(function), encoding="utf-8")


def _fingerprint(function: Any) -> str:
    """The interpreter's version, since its code differs, and a digest of the function's code without line numbers."""
    digest = hashlib.sha256()
    for part in _parts(_code_of(function)):
        digest.update(part)
    return f"{_version()[0]} {digest.hexdigest()}"


def _version() -> list[str]:
    return [sys.implementation.cache_tag or "unknown"]


def _code_of(function: Any) -> CodeType | None:
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__wrapped__", function)
    found = getattr(function, "__code__", None) or getattr(type(function).__dict__.get("__call__"), "__code__", None)
    return found if isinstance(found, CodeType) else None


def _parts(code: CodeType | None) -> Iterator[bytes]:
    if code is None:
        return
    yield code.co_code
    yield repr((code.co_names, code.co_varnames, code.co_freevars)).encode("utf-8", "replace")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _parts(constant)
        else:
            yield repr(sorted(constant, key=repr) if isinstance(constant, frozenset) else constant).encode("utf-8", "replace")
