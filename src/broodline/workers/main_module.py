"""The module `__main__` of a worker process that calls a function of the user's script.

Theory of operation. A function of a script or a notebook travels to workers by value, together with the functions and classes of
the script that it uses. Inside the worker their module is still named `__main__`, but Python's `__main__` is broodline's start
code there. `pickle` refers to a class by module and name, so `pickle.dumps(model)` and `pool.map(function, ...)` would fail in
the worker though they work in the script. So the worker gets a `__main__` that holds these functions and classes.

It also names the script's file. A process that `multiprocessing` starts afresh (the methods spawn and forkserver) imports that
file under the name `__mp_main__`, as it does below the script itself. The worker does not run the file: a script without
`if __name__ == "__main__"` would start its study again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from broodline.workers.trainers.base import MakesTrainer, Trainer


class InMainModule:
    """Makes a trainer in a worker, after it has given the worker the user's `__main__`.

    Args:
        make: Makes the trainer.
        file: The file of the user's script; None in a notebook or an interactive session.
        module: The name of the module that `python -m` ran; None otherwise.
        names: The functions and classes of the user's `__main__` that the trainer uses. It may be filled after this object was
            made.
    """

    def __init__(self, make: MakesTrainer, file: str | None, module: str | None, names: Mapping[str, Any]) -> None:
        self._state = (make, file, module, names)

    def __reduce__(self) -> tuple[type[InMainModule], tuple[Any, ...]]:
        return InMainModule, self._state  # in this order: the pickler fills the names while it pickles the maker

    def __call__(self, *, cwd: Path) -> Trainer:
        make, file, module, names = self._state
        if names:
            sys.modules["__main__"] = sys.modules["__mp_main__"] = main_module(file, module, names)
        return make(cwd=cwd)


def main_module(file: str | None, module: str | None, names: Mapping[str, Any]) -> ModuleType:
    """A module `__main__` with some functions and classes of the user's script.

    Args:
        file, module, names: As in `InMainModule`.
    """
    made = ModuleType("__main__")
    made.__dict__.update(names)
    if file is not None:
        made.__file__ = file
    if module is not None:
        made.__spec__ = ModuleSpec(module, None, origin=file)
    return made
