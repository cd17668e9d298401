"""Starts modules of broodline as programs of their own: worker processes and the heartbeat process of a loop."""

from __future__ import annotations

import sys
from pathlib import Path

import broodline

_SOURCE = str(Path(broodline.__file__).resolve().parents[1])
_CODE = "import sys; sys.path[:] = {path!r}; from {module} import main; main()"


def command_of(module: str, *arguments: str) -> list[str]:
    """The command that runs `main()` of a module in a new interpreter, which imports from where this one does.

    Args:
        module: The module's full name.
        *arguments: For `main`, in `sys.argv[1:]`.
    """
    # Not `python -m`: that would import from the current folder first, where a user's `pickle.py` may lie (-P), and would
    # not find a broodline that is run from a source tree, nor a function whose folder was added to `sys.path`.
    code = _CODE.format(path=[*sys.path, _SOURCE], module=module)
    return [sys.executable, "-P", "-c", code, *arguments]
