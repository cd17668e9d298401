"""`broodline.trials()`: the loop of a worker, turned inside out for a program that has a loop of its own.

A resident program is handed its trials by the worker that started it. With a store and a study, the program is the worker.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

from broodline.errors import UsageError


def trials(store: str | None = None, study: str | None = None, *, worker: str | None = None) -> Iterator[Any]:
    """Yields the trials to train; each is trained inside of `with trial:` and ends where that block ends.

    Args:
        store: The store's URL; without it the program must have been started as a resident program.
        study: The study's name; it must exist.
        worker: The name of this worker, the host's name and the process's number by default; who comes back under
            the same name gets back the trial that it held.

    Raises:
        UsageError: The program is not resident, and no store is named.

    Example:
        >>> for trial in broodline.trials("sqlite:///broodline.db", "digits"):   # doctest: +SKIP
        ...     with trial:
        ...         train(trial)
        ...         trial.report(step=trial.start + trial.steps, accuracy=0.9)
    """
    if store is None or study is None:
        if "BROODLINE_REPLY" not in os.environ:
            raise UsageError(
                "broodline.trials(): this program was not started as a resident program ([train] resident = true); "
                "name a store and a study: broodline.trials('sqlite:///broodline.db', 'my-study')"
            )
        from broodline.resident import trials as handed_out

        return handed_out()
    return _own_trials(store, study, worker or f"{socket.gethostname()}-{os.getpid()}")
