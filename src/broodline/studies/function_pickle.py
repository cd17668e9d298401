"""Pickles the maker of a trainer for worker processes, with what its function uses of the user's script."""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any

import cloudpickle

from broodline.workers.main_module import InMainModule
from broodline.workers.trainers.base import MakesTrainer


def pickled_with_main(make: MakesTrainer) -> bytes:
    """The maker of a trainer as bytes; a function of a script or notebook travels by value, and takes its `__main__` along."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    spec = getattr(main, "__spec__", None)
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    # The names come last: by then the pickler has seen, and recorded, all that the function uses.
    pickler.dump(InMainModule(make, file, None if spec is None else spec.name, pickler.names))
    return buffer.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no type hints
    """A pickler that records the functions and classes of `__main__` that it pickles by value.

    Attributes:
        names: They, by their name in `__main__`.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.names: dict[str, Any] = {}
        self._main = sys.modules.get("__main__")

    def reducer_override(self, obj: Any) -> Any:
        reduced = super().reducer_override(obj)
        name = getattr(obj, "__name__", None)
        if reduced is not NotImplemented and isinstance(name, str) and getattr(self._main, name, None) is obj:
            self.names[name] = obj
        return reduced
