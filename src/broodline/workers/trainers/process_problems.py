"""Describes in words why a program could not be started, and how it ended."""

from __future__ import annotations

import errno
import signal
from pathlib import Path


def ending(status: int) -> str:
    """Describes how a program ended that failed, or should not have ended.

    >>> ending(3), ending(-9)
    ('exit status 3', 'killed by signal SIGKILL')
    """
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by signal {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def why_not_started(program: str, cwd: Path, error: OSError | ValueError) -> str:
    """Describes why a program could not be started.

    Args:
        program: The first word of its command.
        cwd: The folder in which it was to run.
        error: The error of `subprocess.Popen`.
    """
    if isinstance(error, ValueError):
        return f"{program} can't be started: {error}"
    # The system reports a missing folder, a missing interpreter and a missing program in the same way.
    if not cwd.is_dir():
        return f"no such folder to run {program} in: {cwd}"
    if error.errno == errno.ENOENT and (cwd / program).exists():
        return f"{program} can't be started: the interpreter that its first line names does not exist"
    if error.errno == errno.ENOENT:
        return f"no such program: {program}"
    return f"{program} can't be started: {error.strerror}"
