"""The environment of a worker, for programs that this process runs itself: to check them, or to evaluate checkpoints again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from broodline.config.programs import EngineOptions
from broodline.storage.study_files import StudyFiles
from broodline.workers.device_choice import for_worker
from broodline.workers.device_leases import leased
from broodline.workers.devices import devices_for, variables_for
from broodline.workers.engines.local import worker_environment


@contextmanager
def environment_of_worker(
    options: EngineOptions, *, files: StudyFiles | None = None, workers: int = 1
) -> Iterator[tuple[str, ...]]:
    """Gives this process the environment of a worker: its threads and its devices, which it yields.

    Args:
        options: The devices and threads of the study's workers.
        files: The files of a study that exists: its workers may be training, so free devices are taken first. None: the first
            device.
        workers: W of that study.

    Raises:
        UsageError: A device is not visible here.
    """
    before, devices = dict(os.environ), devices_for(options.devices)
    with ExitStack() as held:
        share = devices.names[:1]
        if files is not None:
            choose = partial(for_worker, workers=workers)
            share = held.enter_context(leased(files, devices.names, choose)).devices
        os.environ.update(worker_environment(before, options.threads) | variables_for(share, devices.variables))
        try:
            yield share
        finally:
            os.environ.clear()
            os.environ.update(before)
