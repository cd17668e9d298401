"""Every error that broodline raises on purpose, in one tree.

The text of an error names the place and the event: the file, key, study or trial first. If a person can do something about it,
a last line that starts with `help: ` states what. The command line prints the text as it is, after `broodline: error: `::

    study.toml: [space] lr: ...
    help: ...

The tree has two branches. A `RetryableError` can pass: nothing was changed, and the same call may succeed later. Every other
error is permanent: the same call fails again until a person changes something.
"""

from __future__ import annotations


class BroodlineError(Exception):
    """The root of all errors of broodline; its text can be shown to a user as it is."""


class RetryableError(BroodlineError):
    """Raised when a resource does not answer at the moment. Nothing was changed, and the call can be repeated."""


class StoreUnavailable(RetryableError):
    """Raised when the store does not answer at the moment: it is locked, full or out of reach."""


class StoreMoved(StoreUnavailable):
    """Raised when the database's file was deleted, renamed or replaced while it is in use."""


class StoreFull(StoreUnavailable):
    """Raised when the disk of the store is full. Room may be made."""


class StoreFailing(StoreUnavailable):
    """Raised when the disk of the store reports errors. They may pass, but not for ever: a worker waits for a minute."""


class CheckpointUnavailable(RetryableError):
    """Raised when a checkpoint can't be read at the moment, for want of permission, open files or the disk's server.

    The checkpoint itself may be whole or corrupt: it was not read.
    """


class UsageError(BroodlineError):
    """Raised when a command line, an argument or a study file can't be used (exit status 2)."""


class DocumentError(UsageError):
    """Raised when a document breaks a rule.

    Args:
        source: The file (or `Study(...)`) that holds the mistake.
        key: The place in it, as a dotted path such as `space.lr`; empty for the whole.
        problem: The mistake, and the values that are allowed.
    """

    def __init__(self, source: str, key: str, problem: str) -> None:
        self.source, self.key, self.problem = source, key, problem
        place = self.place(key)
        super().__init__(f"{source}: {place}: {problem}" if place else f"{source}: {problem}")

    @staticmethod
    def place(key: str) -> str:
        """A key as messages show it."""
        return key


class StudyFileError(DocumentError):
    """Raised when a study file, or the arguments of a `Study`, break a rule."""

    @staticmethod
    def place(key: str) -> str:
        """A key as a reader finds it in the file: the heading of its table first.

        >>> StudyFileError.place("space.lr.when"), StudyFileError.place("name")
        ('[space] lr.when', 'name')
        """
        table, dot, name = key.partition(".")
        return f"[{table}] {name}" if dot else key


class ScheduleError(DocumentError):
    """Raised when a file is not a schedule, or breaks a rule of schedules."""


class SpaceError(UsageError, ValueError):
    """Raised when a parameter type, or a search space, breaks a rule.

    Args:
        key: The place in the space, as a dotted path such as `momentum.when`, without the parameter's name before it has one.
        problem: The mistake, and the values that are allowed.
    """

    def __init__(self, key: str, problem: str) -> None:
        self.key, self.problem = key, problem
        super().__init__(f"{key}: {problem}")


class StudyChanged(UsageError):
    """Raised when a study file differs from the study in the store in a setting that can't change after the start."""


class StudyNotFound(UsageError):
    """Raised when the store has no study of that name."""


class StudyBusy(UsageError):
    """Raised when another `run` holds this study."""


class StudyFailed(BroodlineError):
    """Raised when a study has ended because its program does not work (exit status 1)."""


class StoreError(BroodlineError):
    """Raised when the store can't be used at all: a wrong URL, a newer or incomplete schema, a corrupt or read-only file."""


class StoreMissing(StoreError):
    """Raised when there is no database of that name, and none is to be created."""


class FilesMissing(StoreError):
    """Raised when the directory of a store's files is not there, or is not the one of this store: it may not be mounted."""


class LeaseLost(BroodlineError):
    """Raised when the trial belongs to another attempt by now, or has finished: the results of this attempt are refused."""


class IllegalTransition(BroodlineError):
    """Raised when a trial's state does not allow a transition; nothing was changed."""


class CheckpointError(BroodlineError):
    """Raised when the files of an attempt can't become a checkpoint, or a name is not that of a checkpoint."""


class CheckpointMissing(CheckpointError):
    """Raised when there is no checkpoint of that name."""


class CheckpointCorrupt(CheckpointError):
    """Raised when the files of a checkpoint are not those that were committed."""


class TrialFailed(BroodlineError):
    """Raised when the program of a trial failed.

    Args:
        reason: The event, in one line: `exit status 3`, `no checkpoint`.
        output: The last lines that the program printed, or a traceback.
    """

    def __init__(self, reason: str, output: str = "") -> None:
        self.reason, self.output = reason, output
        super().__init__(reason)


class WorkerError(BroodlineError):
    """Raised when a worker can't start, so no other worker would: its function can't be loaded, its program is missing."""


class Stopped(BroodlineError):
    """Raised by `trial.report` to stop the trial early. Let it propagate, or return without saving."""


class Preempted(BaseException):
    """Raised during training when the worker must leave: the trial becomes pending again.

    It is not an `Exception`, so that an `except Exception` in a trainer can't swallow it.
    """
