"""Holds a study for one running process: a second `broodline run` of the same study is refused."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from broodline.errors import StoreError, StudyBusy
from broodline.storage.study_files import StudyFiles
from broodline.workers.liveness import private_to_process


@contextmanager
def sole_run(files: StudyFiles, study: str) -> Iterator[None]:
    """Holds a lock on the study while the block runs.

    The kernel releases the lock of an open file when its process ends, even after `kill -9`. A file that only names the
    process would outlive it.

    Raises:
        StudyBusy: Another process holds the lock.
        StoreError: The lock file cannot be written.
    """
    with _lock_file(files) as file, private_to_process(file):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StudyBusy(
                f"study '{study}' is running already (process {file.read().strip() or 'unknown'})\n"
                "help: `broodline worker` adds workers to it, `broodline stop` ends it"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock_file(files: StudyFiles) -> TextIO:
    try:
        files.root.mkdir(exist_ok=True)  # in the directory that was claimed
        return files.run_lock.open("a+")
    except OSError as error:
        raise StoreError(
            f"{files.root}: can't be written: {error.strerror}\nhelp: choose another store with --store sqlite:///PATH"
        ) from error
