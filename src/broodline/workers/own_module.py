"""Starts modules of broodline as programs of their own: worker processes and the heartbeat process of a loop.

Theory of operation: imports. Such a program must find the modules that a user's function imports, so it gets the `sys.path` of
this process, with the folder of the user's script in it. A file in that folder may have the name of a module of the standard
library: `queue.py`, `types.py`, `random.py`. The new program therefore searches the standard library first, imports what
broodline itself needs from a path without folders that hold programs, and only then gets the whole path.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import broodline

_SOURCE = str(Path(broodline.__file__).resolve().parents[1])
_LIBRARY = os.path.dirname(os.__file__)
_CODE = (
    "import gc, sys; gc.disable(); sys.path[:] = {safe!r}; from {module} import main; "  # imports leave nothing to collect
    "gc.enable(); sys.path[:] = {path!r}; main()"
)
_LOOK_SECONDS = 1.0


def command_of(module: str, *arguments: str) -> list[str]:
    """The command that runs `main()` of a module in a new interpreter, which imports from where this one does.

    Args:
        module: The module's full name.
        *arguments: For `main`, in `sys.argv[1:]`.
    """
    # Not `python -m`: that would import from the current folder first (-P), and would not find a broodline that is run from a
    # source tree, nor a function whose folder was added to `sys.path`.
    path = library_first(sys.path)
    safe = [*without(path, program_folders()), _SOURCE]
    code = _CODE.format(safe=safe, path=[*path, _SOURCE], module=module)
    return [sys.executable, "-P", "-c", code, *arguments]


def library_first(path: Sequence[str]) -> list[str]:
    """A search path with the folders of the standard library at its beginning."""
    library = [entry for entry in path if _is_library(entry)]
    return library + [entry for entry in path if entry not in library]


def without(path: Iterable[str], folders: set[str]) -> list[str]:
    """A search path without some folders."""
    return [entry for entry in path if os.path.realpath(entry) not in folders]


def program_folders() -> set[str]:
    """The folders that Python searches only because the program that runs now lies there: the current one, the script's."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return {os.path.realpath(folder) for folder in ("", os.path.dirname(script) if script else "")}


def wait_for_end_of(owner: int) -> None:
    """Returns when the process that started this one has ended, or closes this one's standard input.

    Args:
        owner: Its number. Standard input alone shows its end too late: a process that it forked may hold the pipe open.
    """
    signs: list[int] = [0]
    with suppress(AttributeError, OSError):  # no Linux, an old one, or the owner has ended already
        signs.append(os.pidfd_open(owner))
    while os.getppid() == owner:
        ready, _, _ = select.select(signs, [], [], _LOOK_SECONDS)
        if ready:
            return


def _is_library(entry: str) -> bool:
    return entry in (_LIBRARY, os.path.join(_LIBRARY, "lib-dynload"))
