"""Everything that broodline raises on purpose: one tree, each error with what happened, to what, and what to do."""

from __future__ import annotations


class BroodlineError(Exception):
    """The root of all errors of broodline; its text is fit to be shown to a user as it is."""


class UsageError(BroodlineError):
    """Something that the user wrote cannot be used: a command line, an argument, a study file (exit status 2)."""


class DocumentError(UsageError):
    """A document that was read breaks a rule.

    Args:
        source: The file (or `Study(...)`) that holds the mistake.
        key: Where in it, as a dotted path such as `space.lr`; empty for the whole.
        problem: What is wrong there, and what is allowed.
    """

    def __init__(self, source: str, key: str, problem: str) -> None:
        self.source, self.key, self.problem = source, key, problem
        super().__init__(f"{source}: {key}: {problem}" if key else f"{source}: {problem}")


class StudyFileError(DocumentError):
    """A study file, or the arguments of a `Study`, break a rule."""


class ScheduleError(DocumentError):
    """A file is no schedule, or breaks a rule of one."""


class SpaceError(UsageError, ValueError):
    """A parameter type, or a search space, breaks a rule.

    Args:
        key: Where in the space, as a dotted path such as `momentum.when`; without a parameter's name while it has none.
        problem: What is wrong there, and what is allowed.
    """

    def __init__(self, key: str, problem: str) -> None:
        self.key, self.problem = key, problem
        super().__init__(f"{key}: {problem}")


class StudyChanged(UsageError):
    """A study file differs from the study in the store in something that can't change any more."""


class StudyNotFound(UsageError):
    """The store has no study of that name."""


class StudyBusy(UsageError):
    """Another `run` holds this study."""


class StudyFailed(BroodlineError):
    """The study has ended because its program does not work (exit status 1)."""


class StoreError(BroodlineError):
    """The store can't be used at all: a wrong URL, a newer schema, a network file system."""


class StoreUnavailable(BroodlineError):
    """The store does not answer just now: locked, full or out of reach. Nothing was changed; asking again is safe."""


class LeaseLost(BroodlineError):
    """The trial has been given to another attempt, or is finished: what this attempt brings is refused."""


class IllegalTransition(BroodlineError):
    """A trial was told to do what its state does not allow; nothing was changed."""


class CheckpointError(BroodlineError):
    """A checkpoint is missing, damaged or unfit to be kept."""


class TrialFailed(BroodlineError):
    """The program of a trial failed.

    Args:
        reason: What happened, in one line: `exit status 3`, `no checkpoint`.
        output: The tail of what the program printed, or a traceback.
    """

    def __init__(self, reason: str, output: str = "") -> None:
        self.reason, self.output = reason, output
        super().__init__(reason)


class WorkerError(BroodlineError):
    """A worker can't start at all, so no other would: its function can't be loaded, its program is missing."""


class Stopped(BroodlineError):
    """Raised by `trial.report` where the trial is to end early: let it pass, or save nothing and return."""


class Preempted(BaseException):
    """Raised inside of training when the worker must go: the trial goes back to pending.

    Not an `Exception`, so that a trainer's own `except Exception` can't swallow it.
    """
